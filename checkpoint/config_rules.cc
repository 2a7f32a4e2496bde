// SPDX-License-Identifier: GPL-2.0-or-later
#include "checkpoint/config_rules.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <set>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace vmigrate {
namespace {

using nlohmann::json;

[[noreturn]] void refuse(const std::string& sentence) { throw Error(Errc::unsupported_container, sentence); }

/// Text from a wire, fit for a sentence.
std::string in_quotes(std::string_view text) {
  std::string clean(text.substr(0, 80));
  std::replace_if(clean.begin(), clean.end(), [](unsigned char c) { return c < 0x20 || c >= 0x7f; }, '?');
  return "\"" + clean + "\"";
}

template <std::size_t count>
bool is_in(const std::array<std::string_view, count>& list, std::string_view text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

bool has_dot_dot(const std::string& path) { return ("/" + path + "/").find("/../") != std::string::npos; }
bool is_given(const json& object, const char* key) { return object.contains(key) && !object.at(key).empty(); }

constexpr std::array<std::string_view, 9> kTopLevel = {"ociVersion", "root",  "process",     "hostname", "domainname",
                                                       "mounts",     "hooks", "annotations", "linux"};
constexpr std::array<std::string_view, 12> kLinux = {
    "namespaces", "devices",       "cgroupsPath",   "resources",  "sysctl",      "seccomp",
    "rootfsPropagation", "maskedPaths", "readonlyPaths", "mountLabel", "personality", "intelRdt"};

constexpr std::array<std::string_view, 2> kRoot = {"path", "readonly"};
constexpr std::array<std::string_view, 16> kProcess = {
    "terminal",     "consoleSize", "user",      "args",        "commandLine",     "env",
    "cwd",          "rlimits",     "scheduler", "ioPriority",  "noNewPrivileges", "apparmorProfile",
    "selinuxLabel", "oomScoreAdj", "capabilities", "execCPUAffinity"};
constexpr std::array<std::string_view, 6> kMount = {"destination", "type",        "source",
                                                    "options",     "uidMappings", "gidMappings"};
constexpr std::array<std::string_view, 2> kNamespace = {"type", "path"};
constexpr std::array<std::string_view, 7> kDeviceNode = {"path", "type", "major", "minor", "fileMode", "uid", "gid"};
constexpr std::array<std::string_view, 5> kDeviceRule = {"allow", "type", "major", "minor", "access"};
constexpr std::array<std::string_view, 9> kResources = {"devices", "memory",         "cpu",     "pids",   "blockIO",
                                                        "rdma",    "hugepageLimits", "network", "unified"};
constexpr std::array<std::string_view, 7> kSeccomp = {
    "defaultAction", "defaultErrnoRet", "architectures", "flags", "syscalls", "listenerPath", "listenerMetadata"};

/// Wherever a value is judged its key has to be one of these: runc also takes "Options" for "options".
template <std::size_t count>
void check_keys(const json& object, const std::array<std::string_view, count>& known, const std::string& where) {
  for (const auto& [key, value] : object.items())
    if (!is_in(known, key) && !value.empty())
      refuse("config.json asks for " + where + in_quotes(key) + ", which cannot be moved");
}

/// A C program sees a string end there: "bind\0" is "bind" to crun.
bool has_nul(const json& value) {
  const auto is_cut = [](const std::string& text) { return text.find('\0') != std::string::npos; };
  if (value.is_string()) return is_cut(value.get_ref<const std::string&>());
  if (!value.is_structured()) return false;
  const auto fields = value.items();
  return std::any_of(fields.begin(), fields.end(),
                     [&](const auto& field) { return is_cut(field.key()) || has_nul(field.value()); });
}

/// Empty if there is none. What is no list is not judged by its elements: some runtimes take it for none.
const json::array_t& list_in(const json& object, const char* key) {
  static const json::array_t kNone;
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? kNone : found->get_ref<const json::array_t&>();
}

/// -1 if there is none. The library would cut a fraction off, and wrap a large number around.
std::int64_t number_in(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) return -1;
  if (!found->is_number_integer()) refuse(std::string("the ") + key + " number of a device is no whole number");
  return found->get<std::int64_t>();
}

void check_hooks(const json& config) {
  if (!config.contains("hooks")) return;
  for (const auto& [kind, hooks] : config.at("hooks").items())
    if (!hooks.empty())
      refuse("the container has " + kind.substr(0, 20) + " hooks: they are programs of the source host");
}

void check_process(const json& config) {
  if (!config.contains("process")) return;
  const json& process = config.at("process");
  if (process.value("terminal", false))
    refuse("the container has a terminal, whose other end stays on the source host");
  check_keys(process, kProcess, "process.");
}

constexpr std::array<std::string_view, 7> kMountTypes = {"proc",   "sysfs",  "tmpfs",  "devpts",
                                                         "mqueue", "cgroup", "cgroup2"};

void check_mount(const json& mount) {
  const std::string destination = mount.at("destination");
  const std::string type = mount.value("type", "bind");
  const std::string source = mount.value("source", "");
  if (destination.empty() || destination.front() != '/' || has_dot_dot(destination))
    refuse("a mount has the destination " + in_quotes(destination) + ", which is no plain absolute path");
  check_keys(mount, kMount, "a mount's ");
  const json::array_t& options = list_in(mount, "options");
  const bool is_bind =
      std::any_of(options.begin(), options.end(), [](const json& o) { return o == "bind" || o == "rbind"; });
  if (is_bind || type == "bind" || type == "none")
    refuse("the bind mount of " + in_quotes(source) + " at " + in_quotes(destination) +
           " belongs to the source host: copy it into the root file system instead");
  const auto is_sharing = [](const json& option) { return option == "shared" || option == "rshared"; };
  if (std::any_of(options.begin(), options.end(), is_sharing))
    refuse("the mount at " + in_quotes(destination) + " is shared with the host");
  if (!is_in(kMountTypes, type)) refuse("the mount at " + in_quotes(destination) + " is of type " + in_quotes(type));
  if (mount.contains("uidMappings") || mount.contains("gidMappings"))
    refuse("the mount at " + in_quotes(destination) + " maps user ids");
}

void check_mounts(const json& config) {
  for (const auto& mount : list_in(config, "mounts")) check_mount(mount);
}

constexpr std::array<std::string_view, 5> kOwnNamespaces = {"pid", "network", "ipc", "mount", "uts"};

void check_namespaces(const json& linux_part) {
  std::set<std::string> seen;
  for (const auto& one : list_in(linux_part, "namespaces")) {
    const std::string type = one.at("type");
    const std::string path = one.value("path", "");
    check_keys(one, kNamespace, "a namespace's ");
    if (!is_in(kOwnNamespaces, type) && type != "cgroup")
      refuse("the container has a " + in_quotes(type) + " namespace");
    if (!path.empty() && type != "network")
      refuse("the container joins the " + type + " namespace at " + in_quotes(path));
    if (!seen.insert(type).second) refuse("the container has two " + type + " namespaces");
  }
  for (const auto type : kOwnNamespaces)
    if (!seen.contains(std::string(type)))
      refuse("the container shares the host's " + std::string(type) + " namespace");
  if (is_given(linux_part, "uidMappings") || is_given(linux_part, "gidMappings")) refuse("the container maps user ids");
}

struct Device {
  std::string_view path;
  std::int64_t major;
  std::int64_t minor;
};
/// What every container has.
constexpr std::array<Device, 8> kDevices = {{{"/dev/null", 1, 3}, {"/dev/zero", 1, 5}, {"/dev/full", 1, 7},
                                             {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0},
                                             {"/dev/console", 5, 1}, {"/dev/ptmx", 5, 2}}};
constexpr std::int64_t kPtyMajor = 136;

bool is_standard(std::int64_t major, std::int64_t minor) {
  return major == kPtyMajor || std::any_of(kDevices.begin(), kDevices.end(), [&](const Device& device) {
           return device.major == major && device.minor == minor;
         });
}

void check_device_node(const json& node) {
  const std::string path = node.at("path");
  const auto is_this = [&](const Device& device) {
    return device.path == path && device.major == number_in(node, "major") && device.minor == number_in(node, "minor");
  };
  const std::string type = node.value("type", "");
  check_keys(node, kDeviceNode, "a device's ");
  if ((type != "c" && type != "u") || std::none_of(kDevices.begin(), kDevices.end(), is_this))
    refuse("the container uses the device " + in_quotes(path) + " of the source host");
}

void check_device_rule(const json& rule) {
  const bool allows = rule.value("allow", false);
  check_keys(rule, kDeviceRule, "a device rule's ");
  if (!allows) return;
  const std::int64_t major = number_in(rule, "major");
  const std::int64_t minor = number_in(rule, "minor");
  const std::string type = rule.value("type", "a");
  // To make a node is harmless while opening it stays forbidden.
  const bool may_only_make = rule.value("access", "rwm") == "m" && type != "a";
  if (may_only_make || (type == "c" && is_standard(major, minor))) return;
  refuse("the container may open devices of the host (" + in_quotes(type) + " " + std::to_string(major) + ":" +
         std::to_string(minor) + ")");
}

void check_devices(const json& linux_part) {
  for (const auto& node : list_in(linux_part, "devices")) check_device_node(node);
  const json resources = linux_part.value("resources", json::object());
  check_keys(resources, kResources, "linux.resources.");
  for (const auto& rule : list_in(resources, "devices")) check_device_rule(rule);
}

constexpr std::array<std::string_view, 10> kSysctls = {
    "kernel.msgmax", "kernel.msgmnb",  "kernel.msgmni",   "kernel.sem", "kernel.shmall",
    "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced", "kernel.hostname", "kernel.domainname"};

void check_sysctls(const json& linux_part) {
  const json sysctls = linux_part.value("sysctl", json::object());
  for (const auto& [key, value] : sysctls.items())
    if (!is_in(kSysctls, key) && !key.starts_with("net.") && !key.starts_with("fs.mqueue."))
      refuse("the container sets " + in_quotes(key) + ", which belongs to the host");
}

void check_cgroups_path(const json& linux_part) {
  const std::string path = linux_part.value("cgroupsPath", "");
  const auto is_odd = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) == 0 &&
           std::string_view("/_.:@+-").find(c) == std::string_view::npos;
  };
  if (path == "/" || has_dot_dot(path) || std::any_of(path.begin(), path.end(), is_odd))
    refuse("the container's cgroup is " + in_quotes(path));
  // "slice:prefix:name" is systemd's form, which needs a flag that runc's state does not tell us of.
  if (path.find(':') != std::string::npos)
    refuse("the container's cgroup " + in_quotes(path) + " is managed by systemd");
}

void check_linux(const json& linux_part) {
  check_keys(linux_part, kLinux, "linux.");
  check_namespaces(linux_part);
  check_devices(linux_part);
  check_sysctls(linux_part);
  check_cgroups_path(linux_part);
  if (is_given(linux_part, "intelRdt")) refuse("the container uses intelRdt, whose classes belong to the host");
  const std::string propagation = linux_part.value("rootfsPropagation", "");
  if (propagation.find("shared") != std::string::npos)
    refuse("the container's rootfsPropagation is " + in_quotes(propagation));
  const json seccomp = linux_part.value("seccomp", json::object());
  check_keys(seccomp, kSeccomp, "linux.seccomp.");
  if (is_given(seccomp, "listenerPath") || is_given(seccomp, "listenerMetadata"))
    refuse("the container's seccomp filter asks a program of the source host");
}

constexpr std::array<std::string_view, 6> kSteering = {"org.criu.",       "run.oci.",     "org.systemd.property.",
                                                       "module.wasm.",    "io.crun.",     "org.opencontainers.runc."};

void check_annotations(const json& config) {
  if (!config.contains("annotations")) return;
  for (const auto& [key, value] : config.at("annotations").items())
    for (const auto prefix : kSteering)
      if (key.starts_with(prefix)) refuse("the annotation " + in_quotes(key) + " steers the runtime or CRIU");
}

}  // namespace

void apply_config_rules(const json& config) {
  if (has_nul(config)) refuse("config.json has a text with a NUL in it, which runtimes read differently");
  check_keys(config, kTopLevel, "");
  check_hooks(config);
  check_annotations(config);
  check_process(config);
  check_mounts(config);
  if (!config.contains("root") || !config.at("root").contains("path")) refuse("the container has no root file system");
  check_keys(config.at("root"), kRoot, "root.");
  if (!config.contains("linux")) refuse("the container has no namespaces of its own");
  check_linux(config.at("linux"));
}

}  // namespace vmigrate
