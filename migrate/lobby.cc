// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/lobby.h"

#include <algorithm>

#include "base/log.h"

namespace vmigrate {

Lobby::Guest::Guest(Lobby& lobby, const asio::any_io_executor& executor, Channel& channel)
    : lobby_(lobby),
      channel_(channel),
      host_(channel.certified_names().empty() ? "" : channel.certified_names().front()),
      timer_(executor, lobby.limits_.stay_max),
      self_(std::make_shared<Guest*>(this)) {
  lobby_.make_room_for(host_);
  lobby_.guests_.push_back(this);
  timer_.async_wait([weak = std::weak_ptr<Guest*>(self_)](boost::system::error_code cancelled) {
    const auto self = weak.lock();
    if (!cancelled && self) (*self)->show_out("it does not say what it wants");
  });
}

void Lobby::Guest::show_out(const char* why) {
  lobby_.guests_.remove(this);
  log(LogLevel::info, "event=peer_dropped peer=" + channel_.peer_name() + " reason=\"" + why + "\"");
  channel_.close();
}

void Lobby::make_room_for(const std::string& host) {
  constexpr const char* kCrowded = "too many connections that do not say what they want";
  const auto is_theirs = [&](const Guest* guest) { return guest->host_ == host; };
  if (static_cast<std::size_t>(std::ranges::count_if(guests_, is_theirs)) >= limits_.guests_per_host_max)
    (*std::ranges::find_if(guests_, is_theirs))->show_out(kCrowded);
  if (guests_.size() >= limits_.guests_max) guests_.front()->show_out(kCrowded);
}

}  // namespace vmigrate
