// SPDX-License-Identifier: GPL-2.0-or-later
// What the fuzzer feeds: one function for each format that comes from a wire or a disk. It returns whatever the bytes
// are. It aborts when a promise of the reader's header is broken, and lets every exception through that is no refusal.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <optional>
#include <span>
#include <type_traits>

#include "base/assert.h"
#include "base/error.h"

namespace vmigrate::fuzz {

using Bytes = std::span<const std::byte>;

void frame(Bytes input);      ///< a stream of frames; also with the checksums of its headers put right
void message(Bytes input);    ///< a type, then a payload
void codec(Bytes input);      ///< u8 codec, u32 announced length, then a compressed payload
void journal(Bytes input);    ///< slots; also with their checksums put right
void image(Bytes input);      ///< steps that fill and verify a checkpoint's directory, see image_fuzz.cc
void documents(Bytes input);  ///< 'o', 'a', 'r', 'n' or 'w' for offer, answer, request, network, waybill; then its JSON
void config(Bytes input);     ///< an OCI config.json

/// What `read` returns, or nothing if it refused with one of `refusals`.
template <typename Read>
auto accepted(std::initializer_list<Errc> refusals, const Read& read) -> std::optional<std::invoke_result_t<Read>> {
  try {
    return read();
  } catch (const Error& refusal) {
    for (const Errc expected : refusals)
      if (refusal.code() == make_error_code(expected)) return std::nullopt;
    throw;
  }
}

}  // namespace vmigrate::fuzz
