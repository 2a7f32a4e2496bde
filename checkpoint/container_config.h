// SPDX-License-Identifier: GPL-2.0-or-later
// The OCI config.json: what of it can move, and what it becomes on the destination.
#pragma once

#include <filesystem>
#include <string>

namespace vmigrate {

/// Where the destination puts things; everything else of the config stays as it is.
struct ConfigPlacement {
  std::filesystem::path rootfs;
  std::string network_namespace_path;   ///< empty if the container has no own network namespace by path
  /// Used when the config names no cgroup; else a runtime would put the container below the cgroup of its caller, where
  /// the container would end together with our service.
  std::string default_cgroups_path;
};

/// Reads <bundle>/config.json. Throws Error.
std::string read_config(const std::filesystem::path& bundle);
/// Throws Error(Errc::unsupported_container) naming the first thing that cannot be moved or must not be taken from a
/// wire: hooks, bind mounts of host paths, host PID/network/IPC namespaces, devices of the host, annotations that steer
/// CRIU or the runtime. Both sides call it: the source to refuse early, the destination because it trusts nobody.
void check_config(const std::string& config_json);
/// The network namespace's path in the config; empty when it has none by path.
std::string network_namespace_of(const std::string& config_json);
/// linux.cgroupsPath; empty when there is none. Throws Error(Errc::protocol_violation).
std::string cgroups_path_of(const std::string& config_json);
/// The config for the destination. Throws Error(Errc::unsupported_container) or protocol_violation.
std::string adapt_config(const std::string& config_json, const ConfigPlacement& placement);

}  // namespace vmigrate
