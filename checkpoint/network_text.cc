// SPDX-License-Identifier: GPL-2.0-or-later
#include "checkpoint/network_text.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <sstream>

namespace vmigrate {
namespace {

bool is_name(std::string_view name, std::size_t bytes_max) {
  const auto is_word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; };
  if (name.empty() || name.size() > bytes_max || !is_word(name.front())) return false;
  return std::all_of(name.begin(), name.end(), [&](char c) { return is_word(c) || c == '.' || c == '-'; });
}

std::optional<unsigned> number_from(std::string_view digits, unsigned max) {
  unsigned value = 0;
  const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (failure != std::errc() || end != digits.data() + digits.size() || value > max) return std::nullopt;
  return value;
}

}  // namespace

bool is_interface_name(std::string_view name) { return is_name(name, 15) && name != "lo"; }
bool is_namespace_name(std::string_view name) { return is_name(name, 64); }

std::optional<MacAddress> mac_from(const std::string& text) {
  MacAddress mac{};
  if (text.size() != 17) return std::nullopt;
  for (std::size_t at = 0; at < mac.size(); ++at) {
    const std::string_view pair = std::string_view(text).substr(at * 3, 2);
    const auto [end, failure] = std::from_chars(pair.data(), pair.data() + 2, mac[at], 16);
    if (failure != std::errc() || end != pair.data() + 2) return std::nullopt;
    if (at < 5 && text[at * 3 + 2] != ':') return std::nullopt;
  }
  const bool is_group = (mac[0] & 1) != 0;
  if (is_group || mac == MacAddress{}) return std::nullopt;
  return mac;
}

std::optional<IpAddress> address_from(const std::string& text) {
  IpAddress address;
  // inet_pton() stops at a NUL; `ip` is given what stands behind it as well.
  if (text.find('\0') != std::string::npos) return std::nullopt;
  if (::inet_pton(AF_INET, text.c_str(), address.bytes.data()) == 1) return address;
  address.is_v6 = true;
  if (::inet_pton(AF_INET6, text.c_str(), address.bytes.data()) == 1) return address;
  return std::nullopt;
}

std::optional<IpAddress> address_of_prefix(const std::string& text) {
  const auto slash = text.find('/');
  if (slash == std::string::npos) return std::nullopt;
  const auto address = address_from(text.substr(0, slash));
  if (!address || !number_from(std::string_view(text).substr(slash + 1), address->is_v6 ? 128 : 32))
    return std::nullopt;
  return address;
}

std::vector<std::string> words_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

}  // namespace vmigrate
