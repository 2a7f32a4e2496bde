// SPDX-License-Identifier: GPL-2.0-or-later
#include "transport/tls_channel.h"

#include <algorithm>
#include <cstdlib>
#include <new>
#include <thread>

#include <boost/asio/post.hpp>

namespace vmigrate {
namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kRecordBytes = 16384;  // the largest TLS record
constexpr std::size_t kCompressBytesMin = kPageBytes;
constexpr std::size_t kBlockDataFieldBytes = 12;
// A link that always takes bytes at once would otherwise never let another coroutine of this thread run.
constexpr std::size_t kYieldBytes = 1 << 20;
constexpr std::size_t kMessageCostBytes = 4096;

std::size_t round_up(std::size_t size, std::size_t unit) { return (size + unit - 1) / unit * unit; }

bool is_block_data(std::uint8_t type) {
  static const std::uint8_t kBlockData = type_of(Message(BlockData{}));
  return type == kBlockData;
}

/// Clears `flag`, for good unless succeed() is reached: not after an exception, nor when destroyed while suspended.
class Undecided {
 public:
  explicit Undecided(bool& flag) : flag_(flag) { flag_ = false; }
  void succeed() { flag_ = true; }

 private:
  bool& flag_;
};

}  // namespace

void ReceiveBuffer::Free::operator()(std::byte* bytes) const noexcept { std::free(bytes); }

std::span<std::byte> ReceiveBuffer::room(std::size_t size, std::size_t aligned_at) {
  const std::size_t lead = (kPageBytes - aligned_at % kPageBytes) % kPageBytes;
  const std::size_t needed = round_up(std::max(lead + size, kPageBytes), kPageBytes);
  if (needed > capacity_) {
    bytes_.reset();
    capacity_ = 0;
    bytes_.reset(static_cast<std::byte*>(std::aligned_alloc(kPageBytes, needed)));
    if (!bytes_) throw std::bad_alloc();
    capacity_ = needed;
  }
  return {bytes_.get() + lead, size};
}

// --- sending ---------------------------------------------------------------------------------------------------------

Task<> TlsChannel::send(const Message& message) {
  if (!is_sendable_) throw Error(Errc::connection_lost, "nothing more can be sent to " + peer_name());
  co_await let_others_run();
  front_.assign(kFrameHeaderBytes, std::byte{});
  const std::span<const std::byte> bulk = encode_head(message, front_);
  const std::size_t plain_bytes = front_.size() - kFrameHeaderBytes + bulk.size();
  const std::uint8_t type = type_of(message);

  Undecided sending(is_sendable_);
  if (key_bytes_ >= limits_.key_bytes_max) {
    stream_->update_key();
    key_bytes_ = 0;
  }
  const bool has_bulk = !bulk.empty();
  const Codec codec = codec_for(message, plain_bytes);
  const std::uint64_t sent_before = bytes_sent_;
  const auto began = std::chrono::steady_clock::now();
  compress_time_ = {};
  bool is_sent = false;
  if (codec != Codec::none) is_sent = co_await send_packed(type, codec, bulk);
  if (!is_sent) co_await send_raw(type, bulk);
  sending.succeed();
  if (has_bulk && plain_bytes >= kCompressBytesMin && compression_ == Compression::automatic)
    policy_.record({codec != Codec::none, plain_bytes, bytes_sent_ - sent_before, compress_time_,
                    std::chrono::steady_clock::now() - began + std::exchange(paused_, {})});
}

void TlsChannel::set_compression(Compression compression, std::size_t streams) {
  compression_ = compression;
  policy_ = CompressionPolicy(streams, std::max(std::thread::hardware_concurrency(), 1U));
}

Codec TlsChannel::codec_for(const Message& message, std::size_t plain_bytes) const {
  // A LinkProbe measures the link, and a link is measured in bytes that travel.
  const bool is_compressible =
      std::holds_alternative<BlockData>(message) || std::holds_alternative<ImageChunk>(message);
  if (!is_compressible || plain_bytes < kCompressBytesMin) return Codec::none;
  switch (compression_) {
    case Compression::automatic: return policy_.codec();
    case Compression::none: break;
    case Compression::lz4: return Codec::lz4;
    case Compression::zstd: return Codec::zstd;
  }
  return Codec::none;
}

/// Copies as much of the bulk behind the fields as fills one TLS record; the rest goes out from where it lies.
Task<> TlsChannel::send_raw(std::uint8_t type, std::span<const std::byte> bulk) {
  const auto plain_bytes = static_cast<std::uint32_t>(front_.size() - kFrameHeaderBytes + bulk.size());
  encode_header({type, Codec::none, plain_bytes, plain_bytes}, std::span(front_).first<kFrameHeaderBytes>());
  const std::size_t room = kRecordBytes - std::min(front_.size(), kRecordBytes);
  const std::size_t copied = std::min(room, bulk.size());
  front_.insert(front_.end(), bulk.begin(), bulk.begin() + static_cast<std::ptrdiff_t>(copied));
  co_await write_frame(front_, bulk.subspan(copied));
}

/// False when compressing does not help; then nothing was sent.
Task<bool> TlsChannel::send_packed(std::uint8_t type, Codec codec, std::span<const std::byte> bulk) {
  if (!compressor_thread_ && !PatientThread::is_this()) compressor_thread_ = std::make_unique<asio::thread_pool>(1);
  plain_.assign(front_.begin() + kFrameHeaderBytes, front_.end());
  plain_.insert(plain_.end(), bulk.begin(), bulk.end());
  packed_.resize(std::max(packed_.size(), kFrameHeaderBytes + plain_.size()));
  const auto work = [this, codec] {
    const auto began = std::chrono::steady_clock::now();
    const auto packed = compressor_.compress(codec, plain_, std::span(packed_).subspan(kFrameHeaderBytes));
    compress_time_ = std::chrono::steady_clock::now() - began;
    return packed;
  };
  std::optional<std::size_t> packed;
  if (compressor_thread_) packed = co_await offload(*compressor_thread_, work);
  else packed = work();
  if (!packed) co_return false;
  const std::span<std::byte> frame = std::span(packed_).first(kFrameHeaderBytes + *packed);
  encode_header({type, codec, static_cast<std::uint32_t>(*packed), static_cast<std::uint32_t>(plain_.size())},
                frame.first<kFrameHeaderBytes>());
  co_await write_frame(frame, {});
  co_return true;
}

Task<> TlsChannel::write_frame(std::span<const std::byte> front, std::span<const std::byte> rest) {
  if (!rest.empty()) co_await stream_->gather(front);
  co_await stream_->write(rest.empty() ? front : rest);
  bytes_sent_ += front.size() + rest.size();
  key_bytes_ += front.size() + rest.size();
  bytes_since_yield_ += front.size() + rest.size() + kMessageCostBytes;
}

Task<> TlsChannel::let_others_run() {
  if (bytes_since_yield_ < kYieldBytes) co_return;
  bytes_since_yield_ = 0;
  const auto executor = co_await asio::this_coro::executor;
  co_await asio::post(executor, asio::use_awaitable);
}

// --- receiving -------------------------------------------------------------------------------------------------------

Task<Message> TlsChannel::receive() {
  if (!is_receivable_) throw Error(Errc::connection_lost, "nothing more can be received from " + peer_name());
  co_await let_others_run();
  is_receivable_ = false;
  bool has_begun = false;
  std::exception_ptr failure;
  try {
    co_await stream_->read(header_, has_begun);
  } catch (...) {
    failure = std::current_exception();
  }
  if (failure) {
    is_receivable_ = !has_begun;
    std::rethrow_exception(failure);
  }
  const FrameHeader header = decode_header(header_);
  if (header.plain_bytes > payload_limit_)
    throw Error(Errc::protocol_violation, peer_name() + " announces a message of " +
                                              std::to_string(header.plain_bytes) + " bytes where at most " +
                                              std::to_string(payload_limit_) + " are expected");
  const std::span<const std::byte> payload = co_await receive_payload(header);
  Message message = decode(header.type, payload);
  is_receivable_ = true;
  bytes_since_yield_ += payload.size() + kMessageCostBytes;
  co_return message;
}

Task<std::span<const std::byte>> TlsChannel::receive_payload(const FrameHeader& header) {
  const std::size_t aligned_at = is_block_data(header.type) ? kBlockDataFieldBytes : 0;
  bool has_begun = true;   // with the header
  if (header.codec == Codec::none) {
    const auto payload = payload_.room(header.plain_bytes, aligned_at);
    co_await stream_->read(payload, has_begun);
    co_return payload;
  }
  const auto packed = packed_payload_.room(header.wire_bytes, 0);
  co_await stream_->read(packed, has_begun);
  const auto payload = payload_.room(header.plain_bytes, aligned_at);
  expander_.expand(header.codec, packed, payload);
  co_return payload;
}

}  // namespace vmigrate
