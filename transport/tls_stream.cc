// SPDX-License-Identifier: GPL-2.0-or-later
#include "transport/tls_stream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/this_coro.hpp>

#include "base/assert.h"
#include "base/error.h"
#include "transport/channel.h"
#include "transport/tls_failure.h"

namespace vmigrate {
namespace {

using asio::ip::tcp;

constexpr auto kIdleTimeoutDefault = std::chrono::seconds(30);
constexpr Duration kGraceMax = std::chrono::seconds(30);  // an idle timeout may be an hour: for a peer that is at work
// A dead peer is noticed by the kernel even while nobody sends: 10 s of silence, then 3 probes 5 s apart.
constexpr int kKeepaliveIdleSeconds = 10;
constexpr int kKeepaliveProbeSeconds = 5;
constexpr int kKeepaliveProbes = 3;
constexpr int kUnacknowledgedMsMax = 30'000;
// What waits in the socket delays whoever needs the link at once; less would let a fast link run dry.
constexpr int kUnsentBytesMax = 512 << 10;
// What a closing connection reads away, since unread bytes turn a close into a reset that can overtake our last
// message.
constexpr std::size_t kDiscardBytesMax = 8 << 20;

void set_option(int fd, int level, int option, int value) {
  // Tuning: a kernel that refuses an option still carries the stream.
  [[maybe_unused]] const int result = ::setsockopt(fd, level, option, &value, sizeof value);
}

void tune(int fd) {
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, kKeepaliveIdleSeconds);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, kKeepaliveProbeSeconds);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, kKeepaliveProbes);
  set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, kUnacknowledgedMsMax);
  set_option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, kUnsentBytesMax);
}

void discard_received(int fd) {
  std::array<char, 16384> buffer;
  for (std::size_t total = 0; total < kDiscardBytesMax;) {
    const auto got = ::recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got <= 0) return;
    total += static_cast<std::size_t>(got);
  }
}

int clamp_to_int(std::size_t size) { return static_cast<int>(std::min<std::size_t>(size, 1U << 30)); }

std::string address_of(const tcp::socket& socket, asio::ip::address& address) {
  boost::system::error_code ignored;
  const auto endpoint = socket.remote_endpoint(ignored);
  address = endpoint.address();
  return (address.is_v6() ? "[" + address.to_string() + "]" : address.to_string()) + ":" +
         std::to_string(endpoint.port());
}

}  // namespace

TlsStream::State::State(tcp::socket connected)
    : socket(std::move(connected)), reading(socket.get_executor()), writing(socket.get_executor()) {}

TlsStream::TlsStream(tcp::socket socket, SSL_CTX* context, TlsRole role, std::string peer)
    : state_(std::make_shared<State>(std::move(socket))),
      role_(role),
      bio_(state_->socket.native_handle()),
      ssl_(SSL_new(context)),
      idle_timeout_(kIdleTimeoutDefault) {
  if (!ssl_) throw Error(Errc::internal, "OpenSSL has no memory for a connection");
  const std::string where = address_of(state_->socket, address_);
  peer_ = peer.empty() ? where : peer + " (" + where + ")";
  tune(state_->socket.native_handle());
  // SSL_set_bio() takes one reference for reading and one for writing; the third stays with bio_.
  BIO_up_ref(bio_.get());
  BIO_up_ref(bio_.get());
  SSL_set0_rbio(ssl_.get(), bio_.get());
  SSL_set0_wbio(ssl_.get(), bio_.get());
  keep_refusal_in(ssl_.get(), &refusal_);
  if (role == TlsRole::connecting) SSL_set_connect_state(ssl_.get());
  else SSL_set_accept_state(ssl_.get());
}

TlsStream::~TlsStream() { close(); }

void TlsStream::require_name(const std::string& host) {
  boost::system::error_code not_an_address;
  asio::ip::make_address(host, not_an_address);
  X509_VERIFY_PARAM* parameters = SSL_get0_param(ssl_.get());
  X509_VERIFY_PARAM_set_hostflags(parameters, X509_CHECK_FLAG_NO_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
  const bool is_set = not_an_address ? X509_VERIFY_PARAM_set1_host(parameters, host.c_str(), host.size()) == 1
                                     : X509_VERIFY_PARAM_set1_ip_asc(parameters, host.c_str()) == 1;
  if (!is_set) throw Error(Errc::usage, "\"" + host + "\" cannot be the name in a certificate");
  if (not_an_address) SSL_set_tlsext_host_name(ssl_.get(), host.c_str());
}

Task<> TlsStream::shake_hands(TimePoint deadline) {
  handshake_deadline_ = deadline;
  for (;;) {
    if (!is_open()) throw_lost();
    ERR_clear_error();
    const int result = SSL_do_handshake(ssl_.get());
    const int error = result == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl_.get(), result);
    if (error == SSL_ERROR_NONE) break;
    const bool must_wait = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
    if (!must_wait) throw_handshake_failed(error);
    co_await flush();
    co_await wait_for(error, result);
  }
  co_await flush();
  handshake_deadline_.reset();
  is_established_ = true;
  const X509* certificate = SSL_get0_peer_certificate(ssl_.get());
  certified_names_ = certified_names_of(certificate);
  const std::string name = common_name_of(certificate);
  asio::ip::address ignored;
  if (!name.empty()) peer_ = name + " (" + address_of(state_->socket, ignored) + ")";
}

Task<> TlsStream::gather(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    if (!is_open()) throw_lost();
    ERR_clear_error();
    const int result = SSL_write(ssl_.get(), bytes.data(), clamp_to_int(bytes.size()));
    if (result > 0) bytes = bytes.subspan(static_cast<std::size_t>(result));
    else co_await wait_for(SSL_get_error(ssl_.get(), result), result);
  }
}

Task<> TlsStream::write(std::span<const std::byte> bytes) {
  co_await gather(bytes);
  co_await flush();
}

Task<> TlsStream::flush() {
  for (;;) {
    if (!is_open()) throw_lost();
    const auto flushed = bio_.flush();
    if (flushed == SocketBio::Flushed::all) co_return;
    if (flushed == SocketBio::Flushed::failed) throw_failed(SSL_ERROR_SYSCALL);
    co_await wait(Side::writing);
  }
}

Task<> TlsStream::read(std::span<std::byte> into, bool& has_begun) {
  const Duration allowed = std::min(idle_timeout_, kGraceMax) + std::chrono::seconds(into.size() / kStreamRateMin);
  read_deadline_.reset();
  while (!into.empty()) {
    if (has_begun && !read_deadline_) read_deadline_ = std::chrono::steady_clock::now() + allowed;
    if (!is_open()) throw_lost();
    ERR_clear_error();
    const int result = SSL_read(ssl_.get(), into.data(), clamp_to_int(into.size()));
    if (result > 0) {
      into = into.subspan(static_cast<std::size_t>(result));
      has_begun = true;
      has_heard_ = true;
    } else {
      co_await wait_for(SSL_get_error(ssl_.get(), result), result);
    }
  }
}

void TlsStream::update_key() {
  // Fails only before the end of the handshake or with a write under way, and we have neither.
  MIGRATE_ASSERT(SSL_key_update(ssl_.get(), SSL_KEY_UPDATE_NOT_REQUESTED) == 1);
}

void TlsStream::move_to(const asio::any_io_executor& executor) {
  MIGRATE_ASSERT(!state_->reading.is_waiting && !state_->writing.is_waiting);
  if (!is_open()) throw_lost();
  const auto protocol = address_.is_v6() ? tcp::v6() : tcp::v4();
  tcp::socket moved(executor, protocol, state_->socket.release());
  state_ = std::make_shared<State>(std::move(moved));
}

Task<> TlsStream::wait_for(int ssl_error, int) {
  if (ssl_error == SSL_ERROR_WANT_READ) co_await wait(Side::reading);
  else if (ssl_error == SSL_ERROR_WANT_WRITE) co_await wait(Side::writing);
  else throw_failed(ssl_error);
}

Task<> TlsStream::wait(Side side) {
  const auto executor = co_await asio::this_coro::executor;
  Idle State::*const which = side == Side::reading ? &State::reading : &State::writing;
  const auto type = side == Side::reading ? tcp::socket::wait_read : tcp::socket::wait_write;
  // Closing frees nothing of this: our own reference keeps the socket until we have looked at it again.
  const auto state = state_;
  Idle& idle = (*state).*which;
  idle.deadline = handshake_deadline_.value_or(std::chrono::steady_clock::now() + idle_timeout_);
  if (side == Side::reading && read_deadline_) idle.deadline = std::min(idle.deadline, *read_deadline_);
  idle.is_waiting = true;
  idle.is_over = false;
  if (!idle.is_armed || idle.timer.expiry() > idle.deadline) arm(state, which, executor);
  // Why it ended is read from our own state: SSL finds out by itself whether the socket is ready.
  co_await state->socket.async_wait(type, asio::as_tuple(asio::use_awaitable));
  idle.is_waiting = false;
  if (!state->socket.is_open()) throw_lost();
  if (idle.is_over)
    throw Error(Errc::timed_out, peer_ + (side == Side::reading ? " said nothing" : " took nothing") + " in time");
  const auto cancellation = co_await asio::this_coro::cancellation_state;
  if (cancellation.cancelled() != asio::cancellation_type::none)
    throw Error(Errc::cancelled, "the conversation with " + peer_ + " was cancelled");
}

void TlsStream::arm(const std::shared_ptr<State>& state, Idle State::*which, asio::any_io_executor executor) {
  Idle& idle = (*state).*which;
  idle.is_armed = true;
  idle.timer.expires_at(idle.deadline);
  const std::weak_ptr<State> weak = state;
  idle.timer.async_wait(asio::bind_executor(executor, [weak, which, executor](boost::system::error_code error) {
    const auto alive = weak.lock();
    if (error || !alive) return;
    Idle& due = (*alive).*which;
    due.is_armed = false;
    if (!due.is_waiting || !alive->socket.is_open()) return;
    if (std::chrono::steady_clock::now() < due.deadline) return arm(alive, which, executor);
    due.is_over = true;
    // Wakes the other direction as well, which sees that its own time is not over and waits again.
    boost::system::error_code ignored;
    alive->socket.cancel(ignored);
  }));
}

void TlsStream::throw_lost() const { throw Error(Errc::connection_lost, "the connection to " + peer_ + " is closed"); }

void TlsStream::throw_failed(int ssl_error) {
  const unsigned long queued = ERR_peek_error();
  const int saved_errno = bio_.failure();
  ERR_clear_error();
  if (!is_established_) throw_handshake_failed(ssl_error);
  const std::string distrust = distrust_in_alert(queued);
  if (!distrust.empty() && !has_heard_)
    throw Error(Errc::tls_failed, peer_ + " refused our certificate: " + distrust);
  if (saved_errno != 0 && !has_heard_) throw_if_refused();
  if (saved_errno != 0)
    throw Error(Errc::connection_lost,
                "the connection to " + peer_ + " is lost: " + std::generic_category().message(saved_errno));
  const std::string sentence = "the connection to " + peer_ + " ended";
  if (ssl_error == SSL_ERROR_ZERO_RETURN) throw HangUp(sentence);
  throw Error(Errc::connection_lost, sentence);
}

void TlsStream::throw_if_refused() {
  ERR_clear_error();
  std::byte unused{};
  if (SSL_peek(ssl_.get(), &unused, 1) > 0) return;
  const std::string distrust = distrust_in_alert(ERR_peek_error());
  ERR_clear_error();
  if (!distrust.empty()) throw Error(Errc::tls_failed, peer_ + " refused our certificate: " + distrust);
}

void TlsStream::throw_handshake_failed(int ssl_error) {
  const unsigned long queued = ERR_peek_error();
  ERR_clear_error();
  bio_.flush();  // the alert that tells the peer why
  if (!refusal_.empty()) throw Error(Errc::tls_failed, peer_ + " is not trusted: " + refusal_);
  const std::string distrust = distrust_in_alert(queued);
  if (!distrust.empty()) throw Error(Errc::tls_failed, peer_ + " refused our certificate: " + distrust);
  if (bio_.failure() != 0)
    throw Error(Errc::connection_lost, "the connection to " + peer_ + " was lost during the TLS handshake: " +
                                           std::generic_category().message(bio_.failure()));
  if (bio_.has_seen_end() || ssl_error == SSL_ERROR_ZERO_RETURN)
    throw Error(Errc::connection_lost, peer_ + " closed the connection during the TLS handshake: it is no vmigrate "
                                               "agent, or has too many unfinished handshakes");
  const bool lacks_certificate = ERR_GET_REASON(queued) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE;
  throw Error(lacks_certificate ? Errc::tls_failed : Errc::not_tls,
              "no TLS connection with " + peer_ + ": " + describe_handshake_error(queued));
}

void TlsStream::close() noexcept {
  if (!is_open()) return;
  const int fd = state_->socket.native_handle();
  boost::system::error_code ignored;
  if (is_established_ && bio_.failure() == 0) {
    ERR_clear_error();
    SSL_shutdown(ssl_.get());
    bio_.flush();
    ERR_clear_error();
  }
  ::shutdown(fd, SHUT_WR);
  discard_received(fd);
  state_->socket.close(ignored);
  state_->reading.timer.cancel();
  state_->writing.timer.cancel();
}

}  // namespace vmigrate
