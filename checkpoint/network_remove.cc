// SPDX-License-Identifier: GPL-2.0-or-later
#include <filesystem>

#include "base/subprocess.h"
#include "checkpoint/network.h"

namespace vmigrate {
namespace {

constexpr std::string_view kNamespaceDirectory = "/run/netns/";

/// The host sides first: a namespace that a process still lingers in would keep them.
void remove(const NetworkSpec& spec) {
  if (spec.namespace_name.empty()) return;
  for (const auto& interface : spec.interfaces) {
    if (!std::filesystem::exists("/sys/class/net/" + interface.host_name)) continue;
    run_checked({.argv = {"ip", "link", "delete", "dev", interface.host_name}}, Errc::internal);
  }
  if (std::filesystem::exists(std::string(kNamespaceDirectory) + spec.namespace_name))
    run_checked({.argv = {"ip", "netns", "delete", spec.namespace_name}}, Errc::internal);
}

}  // namespace

Task<> remove_network(asio::thread_pool& pool, NetworkSpec spec) {
  co_await offload(pool, [&spec] { remove(spec); });
}

}  // namespace vmigrate
