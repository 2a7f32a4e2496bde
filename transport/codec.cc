// SPDX-License-Identifier: GPL-2.0-or-later
#include "transport/codec.h"

#include <lz4.h>
#include <zstd.h>

#include <algorithm>
#include <new>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/error.h"

namespace vmigrate {
namespace {

constexpr int kZstdLevel = 3;   // of programs 1/3.5 at 319 MB/s; 1 makes 1/3.2 at 502, 5 makes 1/3.6 at 168

bool is_expanded_lz4(std::span<const std::byte> packed, std::span<std::byte> into) {
  const int bytes = LZ4_decompress_safe(reinterpret_cast<const char*>(packed.data()),
                                        reinterpret_cast<char*>(into.data()), static_cast<int>(packed.size()),
                                        static_cast<int>(into.size()));
  return bytes >= 0 && static_cast<std::size_t>(bytes) == into.size();
}

/// libzstd would also expand several frames, and those of its ancestors if it was built to.
bool is_one_zstd_frame(std::span<const std::byte> packed, std::size_t plain_bytes) {
  return packed.size() >= sizeof(std::uint32_t) && ByteReader(packed).u32() == ZSTD_MAGICNUMBER &&
         ZSTD_findFrameCompressedSize(packed.data(), packed.size()) == packed.size() &&
         ZSTD_getFrameContentSize(packed.data(), packed.size()) == plain_bytes;
}

}  // namespace

// --- compressing -----------------------------------------------------------------------------------------------------

Compressor::Compressor() = default;
Compressor::~Compressor() = default;
void Compressor::Free::operator()(ZSTD_CCtx_s* context) const noexcept { ZSTD_freeCCtx(context); }

std::optional<std::size_t> Compressor::compress(Codec codec, std::span<const std::byte> plain,
                                                std::span<std::byte> into) {
  MIGRATE_ASSERT(codec != Codec::none && plain.size() <= LZ4_MAX_INPUT_SIZE);
  // Both give up as soon as the output would be longer than this room.
  const std::size_t room = std::min(into.size(), plain.size() - plain.size() / (codec == Codec::lz4 ? 8 : 64));
  if (codec == Codec::lz4) {
    const int packed = LZ4_compress_default(reinterpret_cast<const char*>(plain.data()),
                                            reinterpret_cast<char*>(into.data()), static_cast<int>(plain.size()),
                                            static_cast<int>(room));
    return packed > 0 ? std::optional(static_cast<std::size_t>(packed)) : std::nullopt;
  }
  if (!zstd_) zstd_.reset(ZSTD_createCCtx());
  if (!zstd_) throw std::bad_alloc();
  const std::size_t packed =
      ZSTD_compressCCtx(zstd_.get(), into.data(), room, plain.data(), plain.size(), kZstdLevel);
  return ZSTD_isError(packed) ? std::nullopt : std::optional(packed);
}

// --- expanding -------------------------------------------------------------------------------------------------------

Expander::Expander() = default;
Expander::~Expander() = default;
void Expander::Free::operator()(ZSTD_DCtx_s* context) const noexcept { ZSTD_freeDCtx(context); }

void Expander::expand(Codec codec, std::span<const std::byte> packed, std::span<std::byte> into) {
  MIGRATE_ASSERT(codec != Codec::none);
  bool is_whole = false;
  if (codec == Codec::lz4) {
    is_whole = is_expanded_lz4(packed, into);
  } else if (is_one_zstd_frame(packed, into.size())) {
    if (!zstd_) zstd_.reset(ZSTD_createDCtx());
    if (!zstd_) throw std::bad_alloc();
    is_whole = ZSTD_decompressDCtx(zstd_.get(), into.data(), into.size(), packed.data(), packed.size()) == into.size();
  }
  if (!is_whole)
    throw Error(Errc::protocol_violation, "a compressed message does not expand to the announced length");
}

}  // namespace vmigrate
