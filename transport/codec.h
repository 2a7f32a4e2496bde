// SPDX-License-Identifier: GPL-2.0-or-later
// One message's payload: compressed when that makes it smaller, expanded into a buffer of exactly the announced size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace vmigrate {

/// What a payload was compressed with; the numbers are those of a frame's flags. lz4 is for speed; of programs
/// zstd makes two thirds of what lz4 does, and takes twice as long (765 and 319 MB/s, 1/2.4 and 1/3.5).
enum class Codec : std::uint8_t { none = 0, lz4 = 1, zstd = 2 };

/// What zstd needs, some MiB, is allocated when it is first asked for, and kept.
class Compressor {
 public:
  Compressor();
  ~Compressor();

  /// Bytes of the compressed form written to the front of `into`, or nothing when it would not be smaller, by an eighth
  /// with lz4, by a 64th with zstd: then expanding it would cost the peer more than the link wins. `into` may be
  /// shorter than `plain`. `codec` is not none.
  std::optional<std::size_t> compress(Codec codec, std::span<const std::byte> plain, std::span<std::byte> into);

 private:
  struct Free {
    void operator()(ZSTD_CCtx_s* context) const noexcept;
  };
  std::unique_ptr<ZSTD_CCtx_s, Free> zstd_;
};

class Expander {
 public:
  Expander();
  ~Expander();

  /// Fills `into` exactly, whatever `packed` is. Throws Error(Errc::protocol_violation) when it is damaged, expands to
  /// another length, or is more than one lz4 block or zstd frame. `codec` is not none.
  void expand(Codec codec, std::span<const std::byte> packed, std::span<std::byte> into);

 private:
  struct Free {
    void operator()(ZSTD_DCtx_s* context) const noexcept;
  };
  std::unique_ptr<ZSTD_DCtx_s, Free> zstd_;
};

}  // namespace vmigrate
