// SPDX-License-Identifier: GPL-2.0-or-later
#include "checkpoint/container_config.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "tests/catch.h"

using namespace vmigrate;
using nlohmann::json;

namespace {

json good_config() {
  return json::parse(R"({
    "ociVersion": "1.0.2",
    "process": {"terminal": false, "user": {"uid": 0, "gid": 0}, "args": ["/bin/sh"], "cwd": "/"},
    "root": {"path": "rootfs", "readonly": false},
    "hostname": "ct7",
    "annotations": {"org.opencontainers.image.title": "redis"},
    "mounts": [
      {"destination": "/proc", "type": "proc", "source": "proc"},
      {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
      {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance"]},
      {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
      {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}
    ],
    "linux": {
      "cgroupsPath": "/containers/ct7",
      "resources": {"devices": [{"allow": false, "access": "rwm"},
                                {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
                                {"allow": true, "type": "c", "access": "m"}]},
      "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "cgroup"},
                     {"type": "network", "path": "/run/netns/ct7"}],
      "devices": [{"path": "/dev/null", "type": "c", "major": 1, "minor": 3}],
      "sysctl": {"net.ipv4.ip_forward": "1"},
      "maskedPaths": ["/proc/kcore"]
    }
  })");
}

/// A change to a good config (an RFC 6902 patch), and a word of the sentence that refuses it.
struct BadConfig {
  const char* patch;
  const char* word;
};

const BadConfig kBadConfigs[] = {
    {R"([{"op":"add","path":"/hooks","value":{"prestart":[{"path":"/bin/x"}]}}])", "prestart hooks"},
    {R"([{"op":"add","path":"/hooks","value":{"createRuntime":[{"path":"/bin/x"}]}}])", "createRuntime hooks"},
    {R"([{"op":"add","path":"/mounts/-","value":{"destination":"/data","type":"bind","source":"/srv"}}])",
     "bind mount of"},
    {R"([{"op":"add","path":"/mounts/-","value":{"destination":"/data","source":"/srv","options":["rbind"]}}])",
     "bind mount of"},
    {R"([{"op":"add","path":"/mounts/-","value":{"destination":"/etc/resolv.conf","type":"none","source":"/x","options":["bind"]}}])",
     "/etc/resolv.conf"},
    {R"([{"op":"add","path":"/mounts/-","value":{"destination":"/d","type":"tmpfs","source":"/","options":["bind"]}}])",
     "bind mount of"},
    {R"([{"op":"add","path":"/mounts/-","value":{"destination":"/data","type":"ext4","source":"/dev/sda1"}}])", "ext4"},
    {R"([{"op":"add","path":"/mounts/-","value":{"destination":"/data","type":"overlay","source":"o"}}])", "overlay"},
    {R"([{"op":"add","path":"/mounts/-","value":{"destination":"/a/../../b","type":"tmpfs","source":"t"}}])",
     "plain absolute path"},
    {R"([{"op":"add","path":"/mounts/-","value":{"destination":"data","type":"tmpfs","source":"t"}}])",
     "plain absolute path"},
    {R"([{"op":"add","path":"/mounts/-","value":{"destination":"/d","type":"tmpfs","source":"t","options":["rshared"]}}])",
     "shared"},
    {R"([{"op":"remove","path":"/linux/namespaces/0"}])", "host's pid namespace"},
    {R"([{"op":"remove","path":"/linux/namespaces/1"}])", "host's mount namespace"},
    {R"([{"op":"remove","path":"/linux/namespaces/2"}])", "host's ipc namespace"},
    {R"([{"op":"remove","path":"/linux/namespaces/3"}])", "host's uts namespace"},
    {R"([{"op":"remove","path":"/linux/namespaces/5"}])", "host's network namespace"},
    {R"([{"op":"add","path":"/linux/namespaces/0/path","value":"/proc/1/ns/pid"}])", "joins the pid namespace"},
    {R"([{"op":"add","path":"/linux/namespaces/-","value":{"type":"user"}}])", "user"},
    {R"([{"op":"add","path":"/linux/namespaces/-","value":{"type":"time"}}])", "time"},
    {R"([{"op":"add","path":"/linux/namespaces/-","value":{"type":"network"}}])", "two network namespaces"},
    {R"([{"op":"add","path":"/linux/uidMappings","value":[{"containerID":0,"hostID":0,"size":1}]}])", "uidMappings"},
    {R"([{"op":"add","path":"/linux/devices/-","value":{"path":"/dev/sda","type":"b","major":8,"minor":0}}])",
     "/dev/sda"},
    {R"([{"op":"add","path":"/linux/devices/-","value":{"path":"/dev/null","type":"b","major":8,"minor":0}}])",
     "/dev/null"},
    {R"([{"op":"add","path":"/linux/resources/devices/-","value":{"allow":true,"access":"rwm"}}])", "open devices"},
    {R"([{"op":"add","path":"/linux/resources/devices/-","value":{"allow":true,"type":"b","major":8,"access":"r"}}])",
     "open devices"},
    {R"([{"op":"add","path":"/linux/resources/devices/-","value":{"allow":true,"type":"a","access":"m"}}])",
     "open devices"},
    {R"([{"op":"add","path":"/annotations/org.criu.config","value":"/tmp/x"}])", "org.criu.config"},
    {R"([{"op":"add","path":"/annotations/run.oci.handler","value":"wasm"}])", "run.oci.handler"},
    {R"([{"op":"add","path":"/annotations/org.systemd.property.ExecStart","value":"x"}])", "steers"},
    {R"([{"op":"replace","path":"/process/terminal","value":true}])", "terminal"},
    {R"([{"op":"add","path":"/linux/seccomp","value":{"listenerPath":"/run/x.sock"}}])", "seccomp"},
    {R"([{"op":"add","path":"/linux/intelRdt","value":{"closID":"x"}}])", "intelRdt"},
    {R"([{"op":"add","path":"/linux/rootfsPropagation","value":"rshared"}])", "rootfsPropagation"},
    {R"([{"op":"add","path":"/linux/sysctl/kernel.core_pattern","value":"|/x"}])", "kernel.core_pattern"},
    {R"([{"op":"replace","path":"/linux/cgroupsPath","value":"/../../init.scope"}])", "cgroup"},
    {R"([{"op":"replace","path":"/linux/cgroupsPath","value":"/"}])", "cgroup"},
    {R"([{"op":"replace","path":"/linux/cgroupsPath","value":"system.slice:vm:ct7"}])", "systemd"},
    {R"([{"op":"add","path":"/linux/netDevices","value":{"eth0":{}}}])", "netDevices"},
    {R"([{"op":"add","path":"/vm","value":{"kernel":{}}}])", "vm"},
    {R"([{"op":"add","path":"/mounts/1/Options","value":["rbind"]}])", "\"Options\""},
    {R"([{"op":"add","path":"/mounts/1/options/-","value":"bind\u0000"}])", "NUL"},
    {R"([{"op":"add","path":"/mounts/1/options\u0000","value":["bind"]}])", "NUL"},
    {R"([{"op":"add","path":"/linux/namespaces/0/Path","value":"/proc/1/ns/pid"}])", "\"Path\""},
    {R"([{"op":"add","path":"/linux/resources/Devices","value":[{"allow":true}]}])", "\"Devices\""},
    {R"([{"op":"replace","path":"/linux/resources/devices/0","value":{"Allow":true}}])", "\"Allow\""},
    {R"([{"op":"replace","path":"/linux/resources/devices/1/major","value":1.5}])", "whole number"},
    {R"([{"op":"replace","path":"/linux/resources/devices/1/major","value":1e300}])", "whole number"},
    {R"([{"op":"replace","path":"/linux/devices/0/major","value":4294967297}])", "/dev/null"},
    {R"([{"op":"add","path":"/linux/devices/0/Major","value":8}])", "\"Major\""},
    {R"([{"op":"add","path":"/linux/seccomp","value":{"ListenerPath":"/run/x.sock"}}])", "\"ListenerPath\""},
    {R"([{"op":"add","path":"/process/Terminal","value":true}])", "\"Terminal\""},
    {R"([{"op":"add","path":"/root/Path","value":"/"}])", "\"Path\""},
    {R"([{"op":"remove","path":"/linux"}])", "namespaces of its own"},
    {R"([{"op":"remove","path":"/root"}])", "root file system"},
};

std::string sentence_of(const std::string& config) {
  try {
    check_config(config);
  } catch (const Error& error) {
    CHECK(error.code() == Errc::unsupported_container);
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("an ordinary config can be moved", "[checkpoint][config]") {
  CHECK_NOTHROW(check_config(good_config().dump()));
}

TEST_CASE("a config that reaches beyond its container is refused, and the sentence says why", "[checkpoint][config]") {
  for (const auto& bad : kBadConfigs) {
    INFO(bad.patch);
    const auto sentence = sentence_of(good_config().patch(json::parse(bad.patch)).dump());
    INFO(sentence);
    CHECK(sentence.find(bad.word) != std::string::npos);
  }
}

TEST_CASE("what is no config at all is the peer's mistake", "[checkpoint][config]") {
  const std::string deep = std::string(1000, '[') + std::string(1000, ']');
  const auto wrong_type = good_config().patch(json::parse(R"([{"op":"replace","path":"/mounts","value":[3]}])")).dump();
  const auto good = good_config();
  auto no_list = good;
  no_list["linux"]["namespaces"] = json::object();
  for (const auto& one : good["linux"]["namespaces"])
    no_list["linux"]["namespaces"][one["type"].get<std::string>()] = one;
  auto large = good_config();
  large["hostname"] = std::string(300'000, 'x');
  const std::vector<std::string> texts = {"", "{", "[]", deep, wrong_type, no_list.dump(), large.dump()};
  for (const std::string& text : texts) {
    try {
      check_config(text);
      FAIL("accepted");
    } catch (const Error& error) {
      CHECK(error.code() == Errc::protocol_violation);
    }
  }
}

TEST_CASE("the destination's config differs in places only", "[checkpoint][config]") {
  const auto text =
      adapt_config(good_config().dump(), {.rootfs = "/srv/ct7", .network_namespace_path = "/run/netns/other"});
  auto adapted = json::parse(text);
  CHECK(adapted["root"]["path"] == "/srv/ct7");
  CHECK(network_namespace_of(text) == "/run/netns/other");
  CHECK_FALSE(adapted.contains("annotations"));
  auto expected = good_config();
  expected["root"]["path"] = "/srv/ct7";
  expected.erase("annotations");
  expected["linux"]["namespaces"][5]["path"] = "/run/netns/other";
  CHECK(adapted == expected);
}

TEST_CASE("a config without rules for devices gets the one that denies them", "[checkpoint][config]") {
  auto config = good_config();
  config["linux"].erase("resources");
  const auto adapted = json::parse(adapt_config(config.dump(), {.rootfs = "/srv/ct7", .network_namespace_path = {}}));
  CHECK(adapted["linux"]["resources"]["devices"] == json::parse(R"([{"allow":false,"access":"rwm"}])"));
}

TEST_CASE("a config without a cgroup gets one that is not below our service", "[checkpoint][config]") {
  auto config = good_config();
  config["linux"].erase("cgroupsPath");
  ConfigPlacement placement{
      .rootfs = "/srv/ct7", .network_namespace_path = {}, .default_cgroups_path = "/vmigrate/ct7"};
  CHECK(cgroups_path_of(adapt_config(config.dump(), placement)) == "/vmigrate/ct7");
  CHECK(cgroups_path_of(adapt_config(good_config().dump(), placement)) == "/containers/ct7");
}
