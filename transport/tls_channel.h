// SPDX-License-Identifier: GPL-2.0-or-later
// Messages over TLS.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "transport/channel.h"
#include "transport/compression_policy.h"
#include "transport/frame.h"
#include "transport/tls_stream.h"

namespace vmigrate {

/// Bytes that are only ever overwritten: never zeroed, never copied when growing. Aligned for direct I/O.
class ReceiveBuffer {
 public:
  /// Room for `size` bytes, of which byte `aligned_at` lies on a page boundary; valid until the next call.
  std::span<std::byte> room(std::size_t size, std::size_t aligned_at);

 private:
  struct Free {
    void operator()(std::byte* bytes) const noexcept;
  };
  std::unique_ptr<std::byte, Free> bytes_;
  std::size_t capacity_ = 0;
};

class TlsChannel final : public Channel {
 public:
  struct Limits {
    /// OpenSSL does not change keys by itself; AES-GCM allows 2^24.5 records (RFC 8446, 5.5), some 380 GiB.
    std::uint64_t key_bytes_max = 64ULL << 30;
  };

  /// `stream` has shaken hands.
  explicit TlsChannel(std::unique_ptr<TlsStream> stream) : TlsChannel(std::move(stream), Limits()) {}
  TlsChannel(std::unique_ptr<TlsStream> stream, Limits limits) : stream_(std::move(stream)), limits_(limits) {}

  Task<> send(const Message& message) override;
  /// `bytes` of a BlockData begin at a page boundary, ready for O_DIRECT.
  Task<Message> receive() override;
  void set_idle_timeout(Duration timeout) override { stream_->set_idle_timeout(timeout); }
  void set_payload_limit(std::uint32_t bytes_max) override { payload_limit_ = bytes_max; }
  void set_compression(Compression compression, std::size_t streams) override;
  void note_pause(Duration pause) override { paused_ += pause; }
  void move_to(const asio::any_io_executor& executor) override { stream_->move_to(executor); }
  void close() noexcept override { stream_->close(); }
  const std::string& peer_name() const override { return stream_->peer_name(); }
  const std::vector<std::string>& certified_names() const override { return stream_->certified_names(); }
  std::uint64_t bytes_sent() const override { return bytes_sent_; }

 private:
  Codec codec_for(const Message& message, std::size_t plain_bytes) const;
  Task<> send_raw(std::uint8_t type, std::span<const std::byte> bulk);
  Task<bool> send_packed(std::uint8_t type, Codec codec, std::span<const std::byte> bulk);
  Task<> write_frame(std::span<const std::byte> front, std::span<const std::byte> rest);
  Task<> let_others_run();
  Task<std::span<const std::byte>> receive_payload(const FrameHeader& header);

  std::unique_ptr<TlsStream> stream_;
  Limits limits_;
  std::uint32_t payload_limit_ = kPayloadBytesMax;
  Compression compression_ = Compression::automatic;
  CompressionPolicy policy_;
  Duration paused_{};                 ///< since the last message that the policy heard of

  std::vector<std::byte> front_;   // header, fields, and the first bulk bytes of the frame being sent
  std::vector<std::byte> plain_;   // compressors want their input in one piece
  std::vector<std::byte> packed_;
  Compressor compressor_;
  Duration compress_time_{};
  std::uint64_t bytes_sent_ = 0;
  std::uint64_t key_bytes_ = 0;
  std::size_t bytes_since_yield_ = 0;
  bool is_sendable_ = true;

  std::array<std::byte, kFrameHeaderBytes> header_{};
  ReceiveBuffer payload_;
  ReceiveBuffer packed_payload_;
  Expander expander_;
  bool is_receivable_ = true;

  std::unique_ptr<asio::thread_pool> compressor_thread_;  // last: joins before the buffers it works on go away
};

}  // namespace vmigrate
