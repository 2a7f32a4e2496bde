// SPDX-License-Identifier: GPL-2.0-or-later
#include "transport/channel.h"

#include <algorithm>

namespace vmigrate {
namespace {

/// The peer's code as long as we know it: a later version may have more.
Errc known_code(std::uint32_t code) {
  if (code == 0 || code > static_cast<std::uint32_t>(kErrcLast)) return Errc::protocol_violation;
  return static_cast<Errc>(code);
}

std::string printable(std::string text) {
  std::ranges::replace_if(text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
  return text;
}

}  // namespace

void throw_unexpected(const Channel& channel, const Message& message, std::string_view wanted) {
  if (const auto* refuse = std::get_if<Refuse>(&message))
    throw PeerError(known_code(refuse->code), printable(refuse->reason));
  if (const auto* abort = std::get_if<Abort>(&message))
    throw PeerError(known_code(abort->code), printable(abort->reason));
  throw Error(Errc::protocol_violation, channel.peer_name() + " sent " + std::string(name_of(message)) + " where " +
                                            std::string(wanted) + " was expected");
}

}  // namespace vmigrate
