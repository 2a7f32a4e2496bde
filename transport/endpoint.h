// SPDX-License-Identifier: GPL-2.0-or-later
// Dial and listen.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "transport/channel.h"
#include "transport/tls_context.h"

namespace vmigrate {

inline constexpr std::uint16_t kDefaultPort = 7700;

/// HOST, HOST:PORT or [IPV6]:PORT as the operator types it.
struct Endpoint {
  std::string host;
  std::uint16_t port = kDefaultPort;
  bool operator==(const Endpoint&) const = default;
};
/// Throws Error(Errc::usage) with one sentence.
Endpoint parse_endpoint(std::string_view text);
std::string to_string(const Endpoint& endpoint);

/// Resolves, connects and shakes hands within 10 s. The peer's certificate must be issued by our CA, be meant for a
/// server, and carry endpoint.host as a SAN (DNS or IP). Throws Error: connect_failed, tls_failed, timed_out.
/// In TLS 1.3 the peer judges our certificate after that: a refusal arrives as tls_failed at the first receive().
Task<std::unique_ptr<Channel>> connect(Endpoint endpoint, const TlsContext& tls);

struct ListenLimits {
  std::uint32_t preauth_max = 64;              ///< unfinished handshakes in all
  std::uint32_t preauth_per_address_max = 8;   ///< from one IPv4 address or one IPv6 /64
  Duration handshake_timeout = std::chrono::seconds(5);
};

/// Accepts connections one after the other; handshakes run beside the accepting loop, so that a silent peer holds up
/// nobody. When a limit is reached the oldest unfinished handshake makes room, since an honest one takes milliseconds.
/// Peers that are dropped are logged with their address and the reason.
class Listener {
 public:
  virtual ~Listener() = default;
  /// The next connection whose handshake succeeded: issued by our CA and meant for a client. Throws
  /// Error(Errc::connection_lost) once closed.
  virtual Task<std::unique_ptr<Channel>> accept() = 0;
  virtual Endpoint local_endpoint() const = 0;
  virtual void close() noexcept = 0;
};
/// `address` is an IP address and port (0 picks a free one). Throws Error(EADDRINUSE …).
std::unique_ptr<Listener> listen(asio::any_io_executor executor, const Endpoint& address, const TlsContext& tls,
                                 ListenLimits limits = {});

}  // namespace vmigrate
