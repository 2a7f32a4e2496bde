// SPDX-License-Identifier: GPL-2.0-or-later
// Dial and listen.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

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
Task<std::unique_ptr<Channel>> connect(Endpoint endpoint, const TlsContext& tls);

/// Accepts connections one after the other; a handshake runs outside the accepting loop, so that a silent peer holds
/// up nobody. At most `preauth_max` unfinished handshakes exist; further connections are closed at once.
class Listener {
 public:
  virtual ~Listener() = default;
  /// The next connection whose handshake succeeded: issued by our CA and meant for a client.
  virtual Task<std::unique_ptr<Channel>> accept() = 0;
  virtual Endpoint local_endpoint() const = 0;
  virtual void close() noexcept = 0;
};
/// `address` is an IP address and port (0 picks a free one). Throws Error(EADDRINUSE …).
std::unique_ptr<Listener> listen(asio::any_io_executor executor, const Endpoint& address, const TlsContext& tls,
                                 std::uint32_t preauth_max = 64);

}  // namespace vmigrate
