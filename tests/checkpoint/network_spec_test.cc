// SPDX-License-Identifier: GPL-2.0-or-later
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "checkpoint/network.h"
#include "checkpoint/network_announce.h"
#include "tests/catch.h"

using namespace vmigrate;
using nlohmann::json;

namespace {

NetworkSpec good_spec() {
  return {.namespace_name = "ct7",
          .interfaces = {{.name = "eth0",
                          .mac = "02:77:00:00:00:0a",
                          .mtu = 1400,
                          .addresses = {"10.77.0.10/24", "fd00::10/64"},
                          .host_name = "v-ct7",
                          .bridge = "br0"}},
          .routes = {"10.9.0.0/16 dev eth0", "default via 10.77.0.1 dev eth0 metric 10",
                     "::/0 via fd00::1 dev eth0 onlink"},
          .neighbours = {"10.77.0.1 lladdr 02:77:01:00:00:01 dev eth0 nud reachable"}};
}

const char* const kBadPatches[] = {
    R"([{"op":"replace","path":"/namespace","value":"../x"}])",
    R"([{"op":"replace","path":"/namespace","value":"-x"}])",
    R"([{"op":"replace","path":"/namespace","value":""}])",
    R"([{"op":"replace","path":"/namespace","value":7}])",
    R"([{"op":"remove","path":"/routes"}])",
    R"([{"op":"replace","path":"/interfaces/0/name","value":"lo"}])",
    R"([{"op":"replace","path":"/interfaces/0/name","value":"eth0 up"}])",
    R"([{"op":"replace","path":"/interfaces/0/name","value":"an-interface-too-long"}])",
    R"([{"op":"replace","path":"/interfaces/0/host_name","value":"x\nlink delete eth0"}])",
    R"([{"op":"replace","path":"/interfaces/0/host_name","value":"."}])",
    R"([{"op":"replace","path":"/interfaces/0/bridge","value":"a/b"}])",
    R"([{"op":"replace","path":"/interfaces/0/mac","value":"01:77:00:00:00:0a"}])",
    R"([{"op":"replace","path":"/interfaces/0/mac","value":"00:00:00:00:00:00"}])",
    R"([{"op":"replace","path":"/interfaces/0/mac","value":"02:77:00:00:00"}])",
    R"([{"op":"replace","path":"/interfaces/0/mac","value":"02-77-00-00-00-0a"}])",
    R"([{"op":"replace","path":"/interfaces/0/mtu","value":20}])",
    R"([{"op":"replace","path":"/interfaces/0/mtu","value":70000}])",
    R"([{"op":"replace","path":"/interfaces/0/mtu","value":4294968796}])",
    R"([{"op":"replace","path":"/interfaces/0/mtu","value":1500.5}])",
    R"([{"op":"replace","path":"/interfaces/0/mtu","value":1e300}])",
    R"([{"op":"replace","path":"/interfaces/0/addresses","value":["10.77.0.10"]}])",
    R"([{"op":"replace","path":"/interfaces/0/addresses","value":["10.77.0.10\u0000\nlink delete eth0\n/24"]}])",
    R"([{"op":"replace","path":"/interfaces/0/addresses","value":["10.77.0.10/33"]}])",
    R"([{"op":"replace","path":"/interfaces/0/addresses","value":["10.77.0.10/24 dev br0"]}])",
    R"([{"op":"replace","path":"/interfaces/0/addresses","value":["127.0.0.1/8"]}])",
    R"([{"op":"replace","path":"/interfaces/0/addresses","value":["224.0.0.1/8"]}])",
    R"([{"op":"replace","path":"/interfaces/0/addresses","value":["::/64"]}])",
    R"([{"op":"add","path":"/interfaces/-","value":{"name":"eth0","mac":"02:77:00:00:00:0b","mtu":1500,"addresses":[],"host_name":"v2","bridge":"br0"}}])",
    R"([{"op":"replace","path":"/routes","value":["default via 10.77.0.1"]}])",
    R"([{"op":"replace","path":"/routes","value":["default via 10.77.0.1 dev br0"]}])",
    R"([{"op":"replace","path":"/routes","value":["default via x dev eth0"]}])",
    R"([{"op":"replace","path":"/routes","value":["default via 10.77.0.1 dev eth0 table 7"]}])",
    R"([{"op":"replace","path":"/routes","value":["default dev eth0\nlink delete br0"]}])",
    R"([{"op":"replace","path":"/routes","value":["blackhole 10.0.0.0/8 dev eth0"]}])",
    R"([{"op":"replace","path":"/routes","value":[""]}])",
    R"([{"op":"replace","path":"/neighbours","value":["10.77.0.1 lladdr 02:77:01:00:00:01 dev br0"]}])",
    R"([{"op":"replace","path":"/neighbours","value":["10.77.0.1 lladdr 02:77:01:00:00:01 dev eth0 nud proxy"]}])",
    R"([{"op":"replace","path":"/neighbours","value":["10.77.0.1 dev eth0"]}])",
};

}  // namespace

TEST_CASE("a network survives the way to JSON and back", "[checkpoint][network]") {
  const auto text = to_json(good_spec());
  CHECK(to_json(network_spec_from_json(text)) == text);
  CHECK(network_spec_from_json(to_json({})).namespace_name.empty());
}

TEST_CASE("a network from the wire with anything odd in it is refused", "[checkpoint][network]") {
  for (const auto* patch : kBadPatches) {
    INFO(patch);
    const auto text = json::parse(to_json(good_spec())).patch(json::parse(patch)).dump();
    try {
      network_spec_from_json(text);
      CHECK(text == "refused");
    } catch (const Error& error) {
      CHECK(error.code() == Errc::protocol_violation);
    }
  }
}

TEST_CASE("text that is no network at all is refused", "[checkpoint][network]") {
  for (const std::string& text :
       {std::string(), std::string("7"), std::string("{}"), std::string(1000, '['), std::string(300'000, ' ')})
    CHECK_THROWS_AS(network_spec_from_json(text), Error);
}

TEST_CASE("an IPv4 address is announced as ARP request and reply", "[checkpoint][network]") {
  const auto frames = announcement_of(*mac_from("02:77:00:00:00:0a"), *address_from("10.77.0.10"));
  REQUIRE(frames.size() == 2);
  const Frame expected = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,  0x77, 0, 0,  0, 10, 8, 6,  // everyone, from, ARP
                          0,    1,    8,    0,    6,    4,    0,  1,                         // Ethernet, IPv4, request
                          2,    0x77, 0,    0,    0,    10,   10, 77,   0, 10,               // sender
                          0,    0,    0,    0,    0,    0,    10, 77,   0, 10};              // target
  CHECK(frames[0] == expected);
  CHECK(frames[1][21] == 2);
}

TEST_CASE("an IPv6 address is announced by an advertisement with a right checksum", "[checkpoint][network]") {
  const auto frames = announcement_of(*mac_from("02:77:00:00:00:0a"), *address_from("fd00::10"));
  REQUIRE(frames.size() == 1);
  const Frame& frame = frames[0];
  REQUIRE(frame.size() == 14 + 40 + 32);
  std::uint32_t sum = 32 + 58;   // the pseudo header's length and next header
  for (std::size_t at = 14 + 8; at < frame.size(); at += 2)
    sum += static_cast<std::uint32_t>(frame[at] << 8 | frame[at + 1]);
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  CHECK(sum == 0xffff);
  CHECK(frame[54] == 136);
}
