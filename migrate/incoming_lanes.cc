// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/incoming_lanes.h"

#include <algorithm>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>

#include "base/error.h"

namespace vmigrate {
namespace {

using namespace std::chrono_literals;

constexpr auto kSilenceMax = 24h;    // a source that compares a large image sends nothing; TCP notices a dead one
constexpr auto kReachTimeout = 5min; // what is left then is on its way already, however slow the link
constexpr auto kExplanationTime = 2s;

bool is_hang_up(std::exception_ptr failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const Error& error) {
    return error.code() == make_error_code(Errc::connection_lost);
  } catch (...) {
    return false;
  }
}

/// The blocks a peer speaks of. Throws Error(Errc::protocol_violation) unless they are within the volume.
Extent checked_extent(VolumeGeometry geometry, std::uint64_t first, std::uint64_t count, const std::string& peer) {
  const std::uint64_t blocks = geometry.block_count();
  if (count == 0 || first >= blocks || count > blocks - first)
    throw Error(Errc::protocol_violation, peer + " sent blocks outside of the image");
  return {{first}, count};
}

}  // namespace

class IncomingLanes::Lane {
 public:
  Lane(std::unique_ptr<Channel> channel, IncomingLanes& all)
      : all_(all), lane_(std::move(channel), all.parts_.instead_of_threads) {
    lane_.channel().set_idle_timeout(kSilenceMax);
  }

  void start(const asio::any_io_executor& home) {
    home_ = home;
    asio::co_spawn(lane_.executor(), receive(), [this](std::exception_ptr failure) {
      asio::post(home_, [this, failure] { rest(failure); });   // after all that was told before
    });
  }
  void close() noexcept { lane_.close(); }
  std::uint32_t round() const { return round_; }

 private:
  /// Ends only by exception.
  Task<> receive() {
    for (;;) {
      const Message message = co_await lane_.channel().receive();
      if (const auto* data = std::get_if<BlockData>(&message)) {
        const Extent extent = checked(data->first_block, data->block_count);
        all_.parts_.digests.update(extent, data->bytes);
        co_await all_.parts_.sink.write(extent, data->bytes);
      } else if (const auto* zeroes = std::get_if<BlockZeroes>(&message)) {
        const Extent extent = checked(zeroes->first_block, zeroes->block_count);
        all_.parts_.digests.update_zeroes(extent);
        co_await all_.parts_.sink.write_zeroes(extent);
      } else if (const auto* end = std::get_if<RoundEnd>(&message)) {
        tell(end->round);
      } else {
        throw_unexpected(lane_.channel(), message, "BlockData");
      }
    }
  }

  Extent checked(std::uint64_t first, std::uint64_t count) {
    if (told_ > all_.round_) refuse("sent blocks after the end of their round");
    return checked_extent(all_.parts_.geometry, first, count, lane_.channel().peer_name());
  }

  [[noreturn]] void refuse(const char* what) const {
    throw Error(Errc::protocol_violation, lane_.channel().peer_name() + " " + what);
  }

  /// Once a round, so that whoever says nothing else keeps nobody busy.
  void tell(std::uint32_t round) {
    if (round != all_.round_ + 1 || round == told_) refuse("ended another round than the one under way");
    told_ = round;
    asio::post(home_, [this, round] {
      round_ = round;
      all_.changed_.cancel();
    });
  }

  void rest(std::exception_ptr failure) {
    --all_.running_;
    if (!all_.failure_) all_.failed_at_ = all_.parts_.clock.now();
    if (!all_.failure_) all_.failure_ = failure;
    all_.changed_.cancel();
  }

  IncomingLanes& all_;
  asio::any_io_executor home_;
  std::uint32_t round_ = 0;   ///< of the last RoundEnd; belongs to `home_`
  std::uint32_t told_ = 0;    ///< the same, as the lane knows it
  DataLane lane_;             ///< last: its thread uses the rest
};

IncomingLanes::IncomingLanes(const asio::any_io_executor& executor, std::vector<std::unique_ptr<Channel>> channels,
                             Parts parts)
    : parts_(parts), changed_(executor, asio::steady_timer::time_point::max()) {
  for (auto& channel : channels) lanes_.push_back(std::make_unique<Lane>(std::move(channel), *this));
  running_ = lanes_.size();
  for (const auto& lane : lanes_) lane->start(executor);
}

IncomingLanes::~IncomingLanes() = default;

Task<> IncomingLanes::reach(std::uint32_t round) {
  const TimePoint deadline = parts_.clock.now() + kReachTimeout;
  const auto is_there = [round](const auto& lane) { return lane->round() >= round; };
  while (!std::ranges::all_of(lanes_, is_there)) {
    if (failure_) std::rethrow_exception(failure_);
    if (parts_.clock.now() >= deadline)
      throw Error(Errc::timed_out, "a connection for blocks did not come to the end of the round");
    co_await wait_until(deadline);
  }
  round_ = round;
}

Task<> IncomingLanes::trouble() {
  while (parts_.clock.now() < trouble_since()) co_await wait_until(trouble_since());
}

void IncomingLanes::check() const {
  if (parts_.clock.now() >= trouble_since()) std::rethrow_exception(failure_);
}

TimePoint IncomingLanes::trouble_since() const {
  if (!failure_) return TimePoint::max();
  return is_hang_up(failure_) ? failed_at_ + kExplanationTime : failed_at_;
}

void IncomingLanes::close() noexcept {
  for (const auto& lane : lanes_) lane->close();
}

Task<> IncomingLanes::end() {
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  close();
  while (running_ > 0) co_await wait_until(TimePoint::max());
}

Task<> IncomingLanes::wait_until(TimePoint deadline) {
  using namespace asio::experimental::awaitable_operators;
  if (deadline == TimePoint::max()) co_await changed_.async_wait(asio::as_tuple(asio::use_awaitable));
  else co_await (changed_.async_wait(asio::as_tuple(asio::use_awaitable)) || parts_.clock.sleep_until(deadline));
}

}  // namespace vmigrate
