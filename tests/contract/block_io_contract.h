// SPDX-License-Identifier: GPL-2.0-or-later
// What every BlockSink and BlockSource promises, whatever stands behind it.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <vector>

#include "base/error.h"
#include "engine/block_io.h"
#include "tests/catch.h"
#include "tests/support/run_task.h"

namespace vmigrate {

/// A sink, and the way to read back what it holds.
class BlockIoRig {
 public:
  virtual ~BlockIoRig() = default;
  virtual BlockSink& sink() = 0;
  /// A source of what the sink holds now; valid until the next call.
  virtual BlockSource& source() = 0;
};
/// Makes an empty one of that size.
using MakeBlockIoRig = std::function<std::unique_ptr<BlockIoRig>(VolumeGeometry)>;

namespace block_io_contract {

inline std::vector<std::byte> pattern(std::uint64_t blocks, unsigned seed) {
  std::vector<std::byte> bytes(blocks * kBlockBytes);
  for (std::size_t at = 0; at < bytes.size(); ++at)
    bytes[at] = static_cast<std::byte>((at * 7 + seed * 13 + (at >> 12)) | 1);
  return bytes;
}

inline std::vector<std::byte> read(BlockSource& source, Extent extent) {
  std::vector<std::byte> bytes(extent.bytes(), std::byte{0xee});
  run_task(source.read(extent, bytes));
  return bytes;
}

inline bool is_all_zeroes(const std::vector<std::byte>& bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte byte) { return byte == std::byte{0}; });
}

inline bool covers(BlockSource& source, Extent wanted) {
  for (auto at = wanted.first; at < wanted.end();) {
    const auto data = source.next_data(at);
    if (!data || data->first > at) return false;
    at = data->end();
  }
  return true;
}

}  // namespace block_io_contract

inline void check_block_io_contract(const MakeBlockIoRig& make) {
  using namespace block_io_contract;
  constexpr VolumeGeometry kGeometry{600 * std::uint64_t{kBlockBytes} + 512};

  SECTION("a new sink reads as zeroes") {
    const auto rig = make(kGeometry);
    CHECK(rig->source().geometry() == kGeometry);
    CHECK(is_all_zeroes(read(rig->source(), {{0}, kExtentBlocksMax})));
  }
  SECTION("what was written is read back, and its neighbours are untouched") {
    const auto rig = make(kGeometry);
    const auto bytes = pattern(3, 1);
    run_task(rig->sink().write({{10}, 3}, bytes));
    CHECK(read(rig->source(), {{10}, 3}) == bytes);
    CHECK(is_all_zeroes(read(rig->source(), {{9}, 1})));
    CHECK(is_all_zeroes(read(rig->source(), {{13}, 1})));
  }
  SECTION("the largest extent is written and read in one piece") {
    const auto rig = make(kGeometry);
    const auto bytes = pattern(kExtentBlocksMax, 2);
    run_task(rig->sink().write({{100}, kExtentBlocksMax}, bytes));
    CHECK(read(rig->source(), {{100}, kExtentBlocksMax}) == bytes);
  }
  SECTION("several extents are read one after the other") {
    const auto rig = make(kGeometry);
    const auto bytes = pattern(2, 3);
    run_task(rig->sink().write({{5}, 1}, std::span(bytes).first(kBlockBytes)));
    run_task(rig->sink().write({{50}, 1}, std::span(bytes).last(kBlockBytes)));
    const std::vector<Extent> extents{{{5}, 1}, {{50}, 1}};
    std::vector<std::byte> found(bytes.size());
    auto& source = rig->source();
    run_task(source.read_each(extents, found));
    CHECK(found == bytes);
  }
  SECTION("zeroes of any length replace data") {
    const auto rig = make(kGeometry);
    const auto bytes = pattern(kExtentBlocksMax, 4);
    run_task(rig->sink().write({{0}, kExtentBlocksMax}, bytes));
    run_task(rig->sink().write({{300}, kExtentBlocksMax}, bytes));
    run_task(rig->sink().write_zeroes({{1}, 598}));
    CHECK(read(rig->source(), {{0}, 1}) == std::vector(bytes.begin(), bytes.begin() + kBlockBytes));
    CHECK(is_all_zeroes(read(rig->source(), {{1}, kExtentBlocksMax})));
    CHECK(is_all_zeroes(read(rig->source(), {{344}, kExtentBlocksMax})));
  }
  SECTION("a partial last block is written cut to size and read padded with zeroes") {
    const auto rig = make(kGeometry);
    const auto bytes = pattern(2, 5);
    run_task(rig->sink().write({{599}, 2}, bytes));
    auto expected = bytes;
    std::fill(expected.begin() + kBlockBytes + 512, expected.end(), std::byte{0});
    CHECK(rig->source().geometry() == kGeometry);
    CHECK(read(rig->source(), {{599}, 2}) == expected);
    run_task(rig->sink().write_zeroes({{599}, 2}));
    CHECK(rig->source().geometry() == kGeometry);
    CHECK(is_all_zeroes(read(rig->source(), {{599}, 2})));
  }
  SECTION("everything written shows up as data") {
    const auto rig = make(kGeometry);
    const auto bytes = pattern(2, 6);
    run_task(rig->sink().write({{20}, 2}, bytes));
    run_task(rig->sink().write({{599}, 2}, bytes));
    run_task(rig->sink().flush());
    auto& source = rig->source();
    CHECK(covers(source, {{20}, 2}));
    CHECK(covers(source, {{599}, 2}));
    CHECK(!source.next_data({601}));
  }
}

}  // namespace vmigrate
