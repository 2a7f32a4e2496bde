// SPDX-License-Identifier: GPL-2.0-or-later
// The listening half of endpoint.h: accept, prove, hand over. Until a peer is proven it costs one slot of a fixed
// number.
#include <algorithm>
#include <list>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/experimental/concurrent_channel.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>

#include "base/log.h"
#include "transport/endpoint.h"
#include "transport/tls_channel.h"

namespace vmigrate {
namespace {

using asio::ip::tcp;

constexpr auto kAcceptRetryDelay = std::chrono::milliseconds(100);  // after EMFILE and the like
constexpr int kBacklog = 1024;

/// What one administrator usually owns: an IPv4 address, an IPv6 /64.
std::string owner_of(const asio::ip::address& address) {
  if (address.is_v4()) return address.to_string();
  const auto v6 = address.to_v6();
  if (v6.is_v4_mapped()) return asio::ip::make_address_v4(asio::ip::v4_mapped, v6).to_string();
  const auto bytes = v6.to_bytes();
  return {bytes.begin(), bytes.begin() + 8};
}

/// Everything runs on one strand. Shared by the accepting loop, each handshake and the Listener, whichever ends last.
class Gate : public std::enable_shared_from_this<Gate> {
 public:
  Gate(const asio::any_io_executor& executor, SSL_CTX* context, ListenLimits limits)
      : executor_(executor),
        strand_(asio::make_strand(executor)),
        acceptor_(strand_),
        proven_(executor, limits.preauth_max),
        context_(context),
        limits_(limits) {
    SSL_CTX_up_ref(context);
  }

  Endpoint bind(const Endpoint& address);
  void start();
  Task<std::unique_ptr<Channel>> next();
  /// Once the strand is free; nothing is admitted after that.
  void close_soon() noexcept;

 private:
  struct Unproven {
    std::string owner;
    TlsStream* stream;
    bool is_evicted = false;
  };
  using Slot = std::list<Unproven>::iterator;
  using Proven = void(boost::system::error_code, std::unique_ptr<Channel>);

  Task<> accept_all();
  void admit(tcp::socket socket);
  void make_room_for(const std::string& owner);
  void evict(Slot slot);
  Task<> prove(std::unique_ptr<TlsStream> stream, Slot slot);
  void hand_over(std::unique_ptr<TlsStream> stream);
  void close();

  asio::any_io_executor executor_;
  asio::strand<asio::any_io_executor> strand_;
  tcp::acceptor acceptor_;
  asio::experimental::concurrent_channel<Proven> proven_;
  SslContextPtr context_;
  ListenLimits limits_;
  std::list<Unproven> unproven_;  // the oldest first
  std::list<Unproven> evicted_;   // their coroutines have not noticed yet
};

void log_dropped(const std::string& peer, const std::string& reason) {
  log(LogLevel::info, "event=peer_dropped peer=" + peer + " reason=\"" + reason + "\"");
}

Endpoint Gate::bind(const Endpoint& wanted) {
  boost::system::error_code error;
  const auto address = asio::ip::make_address(wanted.host, error);
  if (error) throw Error(Errc::usage, "\"" + wanted.host + "\" is not an IP address to listen on");
  const tcp::endpoint local(address, wanted.port);
  acceptor_.open(local.protocol(), error);
  if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor_.bind(local, error);
  if (!error) acceptor_.listen(kBacklog, error);
  if (error) throw Error(error.value(), "cannot listen on", to_string(wanted));
  return {wanted.host, acceptor_.local_endpoint().port()};
}

void Gate::start() {
  // The coroutine is a member: its frame keeps a reference through the completion handler.
  asio::co_spawn(strand_, accept_all(), [self = shared_from_this()](std::exception_ptr) {});
}

Task<> Gate::accept_all() {
  while (acceptor_.is_open()) {
    auto [error, socket] = co_await acceptor_.async_accept(executor_, asio::as_tuple(asio::use_awaitable));
    if (!acceptor_.is_open()) co_return;
    if (!error) admit(std::move(socket));
    if (!error || error == asio::error::connection_aborted) continue;
    log(LogLevel::warn, "event=accept_failed reason=\"" + error.message() + "\"");
    asio::steady_timer pause(strand_, kAcceptRetryDelay);
    co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

void Gate::admit(tcp::socket socket) {
  boost::system::error_code is_gone;
  const auto remote = socket.remote_endpoint(is_gone);
  if (is_gone) return;
  const std::string owner = owner_of(remote.address());
  make_room_for(owner);
  try {
    auto stream = std::make_unique<TlsStream>(std::move(socket), context_.get(), TlsRole::accepting, "");
    const Slot slot = unproven_.insert(unproven_.end(), {owner, stream.get()});
    asio::co_spawn(strand_, prove(std::move(stream), slot), [self = shared_from_this()](std::exception_ptr) {});
  } catch (const std::exception& failure) {
    log(LogLevel::warn, std::string("event=accept_failed reason=\"") + failure.what() + "\"");
  }
}

void Gate::make_room_for(const std::string& owner) {
  const auto is_theirs = [&](const Unproven& peer) { return peer.owner == owner; };
  if (std::ranges::count_if(unproven_, is_theirs) >= limits_.preauth_per_address_max)
    evict(std::ranges::find_if(unproven_, is_theirs));
  if (unproven_.size() >= limits_.preauth_max) evict(unproven_.begin());
}

void Gate::evict(Slot slot) {
  slot->is_evicted = true;
  log_dropped(slot->stream->peer_name(), "too many unfinished handshakes");
  slot->stream->close();
  evicted_.splice(evicted_.end(), unproven_, slot);
}

Task<> Gate::prove(std::unique_ptr<TlsStream> stream, Slot slot) {
  std::string reason;
  try {
    co_await stream->shake_hands(std::chrono::steady_clock::now() + limits_.handshake_timeout);
  } catch (const std::exception& failure) {
    reason = failure.what();
  }
  const bool is_evicted = slot->is_evicted;
  if (is_evicted) evicted_.erase(slot);
  else unproven_.erase(slot);
  if (is_evicted) co_return;
  if (!reason.empty()) log_dropped(stream->peer_name(), reason);
  else hand_over(std::move(stream));
}

void Gate::hand_over(std::unique_ptr<TlsStream> stream) {
  const std::string peer = stream->peer_name();
  auto channel = std::make_unique<TlsChannel>(std::move(stream));
  if (!proven_.try_send(boost::system::error_code(), std::move(channel)))
    log_dropped(peer, "too many connections wait to be served");
}

Task<std::unique_ptr<Channel>> Gate::next() {
  auto [error, channel] = co_await proven_.async_receive(asio::as_tuple(asio::use_awaitable));
  if (error) throw Error(Errc::connection_lost, "no longer listening");
  co_return std::move(channel);
}

void Gate::close_soon() noexcept {
  try {
    asio::dispatch(strand_, [self = shared_from_this()] { self->close(); });
  } catch (const std::exception& failure) {
    log(LogLevel::warn, std::string("event=close_failed reason=\"") + failure.what() + "\"");
  }
}

void Gate::close() {
  boost::system::error_code ignored;
  acceptor_.close(ignored);
  for (const Unproven& peer : unproven_) peer.stream->close();
  proven_.close();
  while (proven_.try_receive([](boost::system::error_code, std::unique_ptr<Channel>) {})) {
  }
}

class TlsListener final : public Listener {
 public:
  TlsListener(const asio::any_io_executor& executor, const Endpoint& address, SSL_CTX* context, ListenLimits limits)
      : gate_(std::make_shared<Gate>(executor, context, limits)), local_(gate_->bind(address)) {
    gate_->start();
  }
  ~TlsListener() override { close(); }

  Task<std::unique_ptr<Channel>> accept() override { return next(gate_); }
  Endpoint local_endpoint() const override { return local_; }
  void close() noexcept override {
    if (is_closed_) return;
    is_closed_ = true;
    gate_->close_soon();
  }

 private:
  static Task<std::unique_ptr<Channel>> next(std::shared_ptr<Gate> gate) { co_return co_await gate->next(); }

  std::shared_ptr<Gate> gate_;
  Endpoint local_;
  bool is_closed_ = false;
};

}  // namespace

std::unique_ptr<Listener> listen(asio::any_io_executor executor, const Endpoint& address, const TlsContext& tls,
                                 ListenLimits limits) {
  return std::make_unique<TlsListener>(executor, address, tls.for_accepting().native_handle(), limits);
}

}  // namespace vmigrate
