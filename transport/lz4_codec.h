// SPDX-License-Identifier: GPL-2.0-or-later
// One lz4 block per message: compressed when that makes it smaller, expanded into a buffer of exactly the announced
// size.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

namespace vmigrate {

/// Thorough takes six times as long and wins a sixth more; expanding is as fast.
enum class Lz4Effort { fast, thorough };

/// Bytes of the compressed form written to the front of `into`, or nothing when it would not be at least an eighth
/// smaller: then expanding it would cost the peer more than the link wins. `into` may be shorter than `plain`.
std::optional<std::size_t> lz4_compress(std::span<const std::byte> plain, std::span<std::byte> into,
                                        Lz4Effort effort = Lz4Effort::fast);

/// Fills `into` exactly. Throws Error(Errc::protocol_violation) when `packed` is damaged or expands to another length.
void lz4_expand(std::span<const std::byte> packed, std::span<std::byte> into);

}  // namespace vmigrate
