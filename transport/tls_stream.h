// SPDX-License-Identifier: GPL-2.0-or-later
// Encrypted bytes over one TCP connection, each wait with a deadline.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/async.h"
#include "base/clock.h"
#include "transport/openssl.h"
#include "transport/socket_bio.h"

namespace vmigrate {

enum class TlsRole { connecting, accepting };

/// Bytes per second below which a peer is not slow but holds us up.
inline constexpr std::size_t kStreamRateMin = 16 << 10;

/// One reader and one writer at a time, on one executor. OpenSSL works on the socket directly, since Asio's stream
/// would copy every record twice more. Failures are Errors whose sentences name the peer.
class TlsStream {
 public:
  /// `context` is used during construction only. `peer` is what errors call the other side until it is known better.
  TlsStream(asio::ip::tcp::socket socket, SSL_CTX* context, TlsRole role, std::string peer);
  ~TlsStream();
  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  /// The certificate must carry this DNS name or IP address. Call before shake_hands().
  void require_name(const std::string& host);
  /// Throws Error: tls_failed, connection_lost, timed_out.
  Task<> shake_hands(TimePoint deadline);
  /// Returns when all of `bytes` is handed to the kernel.
  Task<> write(std::span<const std::byte> bytes);
  /// Like write(), but may keep the end back until the next write() or flush().
  Task<> gather(std::span<const std::byte> bytes);
  /// Fills `into`. `has_begun` tells, also after a failure, whether bytes of it were taken from the stream. Once it is
  /// true, by an earlier read() or this one, the whole must come within the idle timeout (at most 30 s) and what
  /// kStreamRateMin needs for it: a byte now and then is no sign of life.
  Task<> read(std::span<std::byte> into, bool& has_begun);
  /// Changes our sending key before the next write; AES-GCM wants that long before 2^24 records.
  void update_key();

  /// Nothing may be waiting.
  void move_to(const asio::any_io_executor& executor);
  void set_idle_timeout(Duration timeout) { idle_timeout_ = timeout; }
  /// Pending and later calls throw Error(Errc::connection_lost). What was written still arrives.
  void close() noexcept;
  bool is_open() const { return state_->socket.is_open(); }
  const std::string& peer_name() const { return peer_; }
  /// All names of the peer's certificate; empty before the handshake has ended.
  const std::vector<std::string>& certified_names() const { return certified_names_; }
  /// The address without the port.
  asio::ip::address peer_address() const { return address_; }

 private:
  enum class Side { reading, writing };
  /// What one direction waits for; a timer looks at it now and then instead of being set for each wait.
  struct Idle {
    explicit Idle(const asio::any_io_executor& executor) : timer(executor) {}
    asio::steady_timer timer;
    TimePoint deadline;
    bool is_waiting = false;
    bool is_armed = false;
    bool is_over = false;
  };
  struct State {
    explicit State(asio::ip::tcp::socket connected);
    asio::ip::tcp::socket socket;
    Idle reading;
    Idle writing;
  };

  Task<> wait(Side side);
  Task<> wait_for(int ssl_error, int result);
  Task<> flush();
  static void arm(const std::shared_ptr<State>& state, Idle State::*which, asio::any_io_executor executor);
  [[noreturn]] void throw_lost() const;
  [[noreturn]] void throw_failed(int ssl_error);
  [[noreturn]] void throw_handshake_failed(int ssl_error);
  /// After a failed write the alert that explains it may be waiting to be read.
  void throw_if_refused();

  std::shared_ptr<State> state_;  // shared with a timer's handler, which may run once more after us
  std::string peer_;
  std::vector<std::string> certified_names_;
  asio::ip::address address_;
  TlsRole role_;
  SocketBio bio_;
  SslPtr ssl_;
  std::string refusal_;
  Duration idle_timeout_;
  std::optional<TimePoint> handshake_deadline_;
  std::optional<TimePoint> read_deadline_;   // of the whole read() under way
  bool is_established_ = false;
  bool has_heard_ = false;
};

}  // namespace vmigrate
