// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/sim/network.h"

#include <algorithm>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>

#include "migrate/failpoint_channel.h"
#include "tests/sim/process.h"
#include "tests/sim/world.h"
#include "transport/frame.h"

namespace vmigrate::sim {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kMessagesAheadMax = 8;
constexpr auto kSilenceMax = 25s;   // keepalive of transport/tls_stream.cc
constexpr auto kIdleTimeout = 30s;

using Frame = std::vector<std::byte>;   // empty: the end of the stream

Frame framed(const Message& message) {
  Frame frame(kFrameHeaderBytes);
  encode(message, frame);
  const auto length = static_cast<std::uint32_t>(frame.size() - kFrameHeaderBytes);
  encode_header({type_of(message), Codec::none, length, length}, std::span(frame).first<kFrameHeaderBytes>());
  return frame;
}

}  // namespace

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(World& world, Process& caller, Process& callee) : world_(world), processes_{&caller, &callee} {
    hosts_ = {caller.host().name, callee.host().name};
  }

  void push(std::size_t side, Frame frame);
  void reset(std::size_t side);
  void reset_both() { reset(0), reset(1); }
  void drop_what_is_on_its_way();
  void deliver_stuck();
  bool is_silent() const;
  bool is_in_use() const { return processes_[0] != nullptr || processes_[1] != nullptr; }
  /// The process at this side is gone, or has closed its end.
  void leave(std::size_t side) {
    channels_[side] = nullptr;
    processes_[side] = nullptr;
  }

 private:
  friend class SimChannel;
  friend class Network;
  struct Pipe {
    std::deque<Frame> arrived;
    std::deque<Frame> stuck;
    std::size_t under_way = 0;   ///< sent, and not yet received by the program at the other end
    TimePoint last_arrival{};
    unsigned generation = 0;     ///< what was sent in an older one is lost
    bool has_ended = false;
  };

  bool is_dark(std::size_t side) const { return world_.network().is_dark(hosts_[side]) || is_off_[side]; }
  void arrive(std::size_t side, Frame frame);
  void wake(std::size_t side);

  World& world_;
  std::array<Process*, 2> processes_;
  std::array<HostName, 2> hosts_{};
  std::array<bool, 2> is_off_{};               ///< that host lost power: nothing comes from it any more
  std::array<SimChannel*, 2> channels_{};
  std::array<Pipe, 2> pipes_;                  ///< by their sender
  std::array<bool, 2> is_reset_{};             ///< as each side sees it
};

class SimChannel final : public Channel {
 public:
  SimChannel(std::shared_ptr<Connection> connection, std::size_t side, Process& process)
      : connection_(std::move(connection)),
        side_(side),
        process_(process),
        changed_(process.loop(), asio::steady_timer::time_point::max()),
        peer_name_(std::string(text_of(connection_->hosts_[1 - side])) + " (simulated)"),
        certified_names_{text_of(connection_->hosts_[1 - side])} {
    connection_->channels_[side] = this;
  }
  SimChannel(const SimChannel&) = delete;
  ~SimChannel() override {
    if (!process_.is_dead()) close();
    if (connection_->channels_[side_] == this) connection_->leave(side_);
  }

  Task<> send(const Message& message) override {
    process_.world().judge_message(process_, message);
    const TimePoint deadline = process_.world().timeline().now() + idle_timeout_;
    while (!is_broken() && outgoing().under_way >= kMessagesAheadMax) co_await wait(deadline, "took");
    if (is_broken()) throw_lost();
    process_.world().note_sent(process_, message);
    Frame frame = framed(message);
    bytes_sent_ += frame.size();
    connection_->push(side_, std::move(frame));
  }

  Task<Message> receive() override {
    const TimePoint deadline = process_.world().timeline().now() + idle_timeout_;
    while (!is_broken() && incoming().arrived.empty() && !incoming().has_ended) co_await wait(deadline, "said");
    if (is_closed_ || process_.is_dead() || incoming().arrived.empty()) throw_lost();
    received_ = std::move(incoming().arrived.front());
    incoming().arrived.pop_front();
    --incoming().under_way;
    connection_->wake(1 - side_);
    const std::span<const std::byte> frame(received_);
    const FrameHeader header = decode_header(frame.first<kFrameHeaderBytes>());
    Message message = decode(header.type, frame.subspan(kFrameHeaderBytes));
    process_.world().note_received(process_, message);
    co_return message;
  }

  void set_idle_timeout(Duration timeout) override { idle_timeout_ = timeout; }
  void set_payload_limit(std::uint32_t) override {}
  void set_compression(Compression, std::size_t) override {}
  void note_pause(Duration) override {}
  void close() noexcept override {
    if (std::exchange(is_closed_, true)) return;
    connection_->push(side_, {});
    wake();
  }
  const std::string& peer_name() const override { return peer_name_; }
  const std::vector<std::string>& certified_names() const override { return certified_names_; }
  std::uint64_t bytes_sent() const override { return bytes_sent_; }

  void wake() noexcept {
    changed_.cancel();
    process_.wake();
  }

 private:
  Connection::Pipe& outgoing() { return connection_->pipes_[side_]; }
  Connection::Pipe& incoming() { return connection_->pipes_[1 - side_]; }
  bool is_broken() const { return is_closed_ || process_.is_dead() || connection_->is_reset_[side_]; }

  Task<> wait(TimePoint deadline, const char* verb) {
    if (process_.world().timeline().now() >= deadline)
      throw Error(Errc::timed_out, peer_name_ + " " + verb + " nothing in time");
    const Alarm alarm(process_, deadline, changed_);
    co_await changed_.async_wait(asio::as_tuple(asio::use_awaitable));
  }

  [[noreturn]] void throw_lost() const {
    throw Error(Errc::connection_lost, "the connection to " + peer_name_ + " is closed");
  }

  std::shared_ptr<Connection> connection_;
  std::size_t side_;
  Process& process_;
  asio::steady_timer changed_;   // never expires; cancelled to say "look again"
  std::string peer_name_;
  std::vector<std::string> certified_names_;
  Duration idle_timeout_ = kIdleTimeout;
  std::uint64_t bytes_sent_ = 0;
  Frame received_;
  bool is_closed_ = false;
};

// --- one connection -----------------------------------------------------------------------------------------------

void Connection::wake(std::size_t side) {
  if (channels_[side] != nullptr) channels_[side]->wake();
}

void Connection::push(std::size_t side, Frame frame) {
  Pipe& pipe = pipes_[side];
  if (is_reset_[side]) return;
  if (!frame.empty()) ++pipe.under_way;
  pipe.last_arrival = std::max(pipe.last_arrival, world_.timeline().now()) + world_.time_on_the_wire(frame.size());
  world_.timeline().at(pipe.last_arrival, [self = shared_from_this(), side, generation = pipe.generation,
                                           moved = std::move(frame)]() mutable {
    if (generation == self->pipes_[side].generation) self->arrive(side, std::move(moved));
  });
}

void Connection::arrive(std::size_t side, Frame frame) {
  Pipe& pipe = pipes_[side];
  if (is_dark(side)) {
    pipe.stuck.push_back(std::move(frame));
    return;
  }
  if (is_reset_[1 - side]) return;
  const bool is_heard = channels_[1 - side] != nullptr;
  if (frame.empty()) pipe.has_ended = true;
  else if (is_heard) pipe.arrived.push_back(std::move(frame));
  else reset(side);   // nobody is there any more
  wake(1 - side);
}

void Connection::deliver_stuck() {
  for (std::size_t side = 0; side < 2; ++side) {
    auto stuck = std::exchange(pipes_[side].stuck, {});
    for (Frame& frame : stuck) arrive(side, std::move(frame));
  }
}

void Connection::reset(std::size_t side) {
  is_reset_[side] = true;
  wake(side);
}

void Connection::drop_what_is_on_its_way() {
  for (Pipe& pipe : pipes_) {
    ++pipe.generation;
    pipe.stuck.clear();
  }
}

bool Connection::is_silent() const { return is_dark(0) || is_dark(1); }

// --- all of them --------------------------------------------------------------------------------------------------

Network::Ends Network::connect(Process& caller, Process& callee) {
  auto connection = std::make_shared<Connection>(world_, caller, callee);
  std::erase_if(connections_, [](const auto& one) { return one.expired(); });
  connections_.push_back(connection);
  return {with_failpoints(std::make_unique<SimChannel>(connection, 0, caller)),
          with_failpoints(std::make_unique<SimChannel>(connection, 1, callee))};
}

void Network::cut() {
  for (const auto& one : connections_)
    if (const auto connection = one.lock()) {
      connection->drop_what_is_on_its_way();
      connection->reset_both();
    }
}

void Network::cut_one() {
  std::vector<std::shared_ptr<Connection>> in_use;
  for (const auto& one : connections_)
    if (auto connection = one.lock(); connection && connection->is_in_use()) in_use.push_back(std::move(connection));
  if (in_use.empty()) return;
  const auto& connection = in_use[world_.random().below(in_use.size())];
  connection->drop_what_is_on_its_way();
  connection->reset_both();
}

void Network::darken(HostName from) {
  is_dark_[from == HostName::alpha ? 0 : 1] = true;
  world_.timeline().after(kSilenceMax, [this] { reset_if_still_silent(); });
}

void Network::light() {
  is_dark_ = {};
  for (const auto& one : connections_)
    if (const auto connection = one.lock()) connection->deliver_stuck();
}

void Network::reset_if_still_silent() {
  for (const auto& one : connections_) {
    const auto connection = one.lock();
    if (!connection || !connection->is_silent()) continue;
    connection->drop_what_is_on_its_way();
    connection->reset_both();
  }
}

void Network::close_all_of(const Process& process, bool loses_what_is_on_its_way) {
  for (const auto& one : connections_) {
    const auto connection = one.lock();
    if (!connection) continue;
    for (std::size_t side = 0; side < 2; ++side) {
      if (connection->processes_[side] != &process) continue;
      connection->leave(side);
      if (loses_what_is_on_its_way) connection->drop_what_is_on_its_way();
      connection->push(side, {});
    }
  }
}

void Network::silence_all_of(const Process& process) {
  bool has_any = false;
  for (const auto& one : connections_) {
    const auto connection = one.lock();
    if (!connection) continue;
    for (std::size_t side = 0; side < 2; ++side) {
      if (connection->processes_[side] != &process) continue;
      connection->leave(side);
      connection->is_off_[side] = true;
      has_any = true;
    }
  }
  if (has_any) world_.timeline().after(kSilenceMax, [this] { reset_if_still_silent(); });
}

std::size_t Network::open_count() {
  return static_cast<std::size_t>(std::count_if(connections_.begin(), connections_.end(), [](const auto& one) {
    const auto connection = one.lock();
    return connection && connection->is_in_use();
  }));
}

}  // namespace vmigrate::sim
