// SPDX-License-Identifier: GPL-2.0-or-later
// The words of `ip`: checked strictly, because they come from a wire and go into a batch of commands.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vmigrate {

/// An IPv4 or IPv6 address in network byte order.
struct IpAddress {
  bool is_v6 = false;
  std::array<std::uint8_t, 16> bytes{};   ///< four of them for IPv4
};
using MacAddress = std::array<std::uint8_t, 6>;

/// 1 to 15 of [A-Za-z0-9_.-], beginning with a letter, digit or '_'.
bool is_interface_name(std::string_view name);
/// 1 to 64 of the same characters.
bool is_namespace_name(std::string_view name);
/// Six pairs of hex digits of one station, neither zero nor a group.
std::optional<MacAddress> mac_from(const std::string& text);
/// "10.0.0.1", "fd00::1".
std::optional<IpAddress> address_from(const std::string& text);
/// The address in "10.0.0.1/24"; the prefix length is required and checked.
std::optional<IpAddress> address_of_prefix(const std::string& text);
/// What is between blanks.
std::vector<std::string> words_of(const std::string& text);

}  // namespace vmigrate
