// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/switchboard.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/error.h"

namespace vmigrate {

Switchboard::Line::Line(const asio::any_io_executor& executor, Switchboard& board, MigrationId id,
                        std::string container)
    : board_(board),
      id_(id),
      container_(std::move(container)),
      rings_(executor, asio::steady_timer::time_point::max()) {
  const bool is_new = board_.lines_.emplace(id, this).second;
  MIGRATE_ASSERT(is_new);
}

Switchboard::Line::~Line() { close(); }

void Switchboard::Line::close() noexcept {
  const auto entry = board_.lines_.find(id_);
  if (entry != board_.lines_.end() && entry->second == this) board_.lines_.erase(entry);
}

Task<std::unique_ptr<Channel>> Switchboard::Line::next_call(Clock& clock, Duration patience) {
  using namespace asio::experimental::awaitable_operators;
  if (!call_) co_await (rings_.async_wait(asio::as_tuple(asio::use_awaitable)) || clock.sleep_for(patience));
  co_return std::move(call_);
}

bool Switchboard::put_through(const Ask& ask, std::unique_ptr<Channel>& channel) {
  const auto line = lines_.find(ask.id);
  if (line == lines_.end() || line->second->container_ != ask.container) return false;
  line->second->call_ = std::move(channel);
  line->second->rings_.cancel();
  if (line->second->interrupt_) line->second->interrupt_();
  return true;
}

Switchboard::Desk::Desk(const asio::any_io_executor& executor, Switchboard& board, MigrationId id,
                        std::vector<std::string> names)
    : board_(board), id_(id), names_(std::move(names)), rings_(executor, asio::steady_timer::time_point::max()) {
  const bool is_new = board_.desks_.emplace(id, this).second;
  if (!is_new) throw Error(Errc::busy, "migration " + to_hex(id) + " is under way already");
}

Switchboard::Desk::~Desk() { board_.desks_.erase(id_); }

Task<std::unique_ptr<Channel>> Switchboard::Desk::next(Clock& clock, Duration patience) {
  using namespace asio::experimental::awaitable_operators;
  if (waiting_.empty())
    co_await (rings_.async_wait(asio::as_tuple(asio::use_awaitable)) || clock.sleep_for(patience));
  if (waiting_.empty()) co_return nullptr;
  auto channel = std::move(waiting_.front());
  waiting_.pop_front();
  co_return channel;
}

bool Switchboard::join(const Join& join, std::unique_ptr<Channel>& channel) {
  const auto entry = desks_.find(join.id);
  if (entry == desks_.end()) return false;
  Desk& desk = *entry->second;
  if (channel->certified_names() != desk.names_ || desk.waiting_.size() >= Desk::kWaitingMax) return false;
  desk.waiting_.push_back(std::move(channel));
  desk.rings_.cancel();
  return true;
}

}  // namespace vmigrate
