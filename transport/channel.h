// SPDX-License-Identifier: GPL-2.0-or-later
// An ordered, authenticated conversation with one peer.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/async.h"
#include "base/clock.h"
#include "base/error.h"
#include "transport/message.h"

namespace vmigrate {

/// When block and image data is compressed, and with what. A receiver accepts every kind at any time.
enum class Compression {
  automatic,  ///< with what measuring shows to make this link faster
  none,
  lz4,        ///< every message that gets smaller by it
  zstd,       ///< the same
};

/// One sender and one receiver at a time, on one executor. Contract: tests/contract/channel_contract.h.
class Channel {
 public:
  virtual ~Channel() = default;
  /// Returns when the message is handed to the kernel, which is how a slow link holds us back. `message`'s spans must
  /// stay valid until then. Throws Error: connection_lost, timed_out when the peer takes no bytes for the idle timeout.
  /// After a failed or cancelled send() nothing more can be sent, but receive() still gives what the peer said before.
  virtual Task<> send(const Message& message) = 0;
  /// The message's spans stay valid until the next receive(). Throws Error: connection_lost at any end of the stream
  /// (EOF is never an answer; HangUp where the peer said that it ends), protocol_violation, timed_out after the idle
  /// timeout or when a message that has begun trickles in, tls_failed when the peer turns out to have refused our
  /// certificate. A receive() cancelled between two messages loses nothing.
  virtual Task<Message> receive() = 0;
  /// How long one send() or receive() may wait from now on. The default is 30 s.
  virtual void set_idle_timeout(Duration timeout) = 0;
  /// A longer message from the peer is a protocol_violation from now on, and nothing is allocated for it. The default
  /// is kPayloadBytesMax.
  virtual void set_payload_limit(std::uint32_t bytes_max) = 0;
  /// For messages sent from now on, while `streams` channels share the link; what was measured is forgotten. The
  /// default is automatic, and one.
  virtual void set_compression(Compression compression, std::size_t streams) = 0;
  /// After a send its user waited so long to keep a limit: to the choice of compression that is the link's slowness.
  virtual void note_pause(Duration pause) = 0;
  /// Between messages, nothing pending: from now on it is used on `executor`. What has no thread needs nothing.
  virtual void move_to(const asio::any_io_executor& executor) { static_cast<void>(executor); }
  /// Ends the conversation; pending and later calls throw Error(Errc::connection_lost). Safe to call twice.
  virtual void close() noexcept = 0;
  /// The peer as its certificate and address name it, for messages to people: "beta (10.77.0.2:7700)".
  virtual const std::string& peer_name() const = 0;
  /// The names that our CA vouches for: all DNS names and addresses of the peer's certificate, {"beta", "10.77.0.2"}.
  virtual const std::vector<std::string>& certified_names() const = 0;
  /// Bytes handed to the wire so far, frame headers included, TLS overhead not.
  virtual std::uint64_t bytes_sent() const = 0;
};

/// A connection_lost of which we know that the peer, alive, has closed it.
class HangUp : public Error {
 public:
  explicit HangUp(const std::string& sentence) : Error(Errc::connection_lost, sentence) {}
};

/// What the peer said in a Refuse or an Abort: its code, its sentence, which names its own host.
class PeerError : public Error {
 public:
  using Error::Error;
};

/// Receives, and throws unless the message is a T. Refuse and Abort from the peer are thrown as PeerError with the
/// peer's code and sentence; anything else is a protocol_violation.
template <typename T>
Task<T> expect(Channel& channel);

[[noreturn]] void throw_unexpected(const Channel& channel, const Message& message, std::string_view wanted);

template <typename T>
Task<T> expect(Channel& channel) {
  Message message = co_await channel.receive();
  if (auto* wanted = std::get_if<T>(&message)) co_return std::move(*wanted);
  throw_unexpected(channel, message, name_of(Message(T{})));
}

}  // namespace vmigrate
