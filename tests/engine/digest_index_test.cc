// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/digest_index.h"

#include <vector>

#include "engine/zero_scan.h"
#include "tests/catch.h"
#include "tests/support/temporary_directory.h"

using namespace vmigrate;

namespace {

std::vector<std::byte> block_of(unsigned seed) {
  return std::vector<std::byte>(kBlockBytes, static_cast<std::byte>(seed));
}

std::vector<std::byte> blocks_of(std::uint64_t count, unsigned seed) {
  return std::vector<std::byte>(count * kBlockBytes, static_cast<std::byte>(seed));
}

struct Copies {
  TestDirectory directory;
  DigestIndex one{{100'000 * std::uint64_t{kBlockBytes}}, directory.path()};
  DigestIndex other{{100'000 * std::uint64_t{kBlockBytes}}, directory.path()};
};

}  // namespace

TEST_CASE("a block of zeroes is recognised wherever its only other byte stands", "[engine]") {
  auto block = block_of(0);
  CHECK(is_zero(block));
  for (const auto at : {0U, 1U, 15U, 16U, 17U, 2048U, 4080U, 4095U}) {
    block[at] = std::byte{1};
    CHECK(!is_zero(block));
    block[at] = std::byte{0};
  }
}

TEST_CASE("a copy of nothing has the digest of nothing", "[engine]") {
  Copies copies;
  CHECK(copies.one.root() == Bits128{});
  CHECK(copies.one.update_zeroes({{0}, 100'000}) == 0);
  CHECK(copies.one.update({{7}, 1}, block_of(0)) == 0);
  CHECK(copies.one.root() == Bits128{});
}

TEST_CASE("equal content has an equal digest, in whatever order it was written", "[engine]") {
  Copies copies;
  copies.one.update({{1}, 1}, block_of(1));
  copies.one.update({{90'000}, 1}, block_of(2));
  copies.other.update({{90'000}, 1}, block_of(3));
  copies.other.update({{5}, 10}, blocks_of(10, 4));
  copies.other.update({{90'000}, 1}, block_of(2));
  copies.other.update({{1}, 1}, block_of(1));
  CHECK(copies.one.root() != copies.other.root());
  copies.other.update_zeroes({{2}, 50'000});
  CHECK(copies.one.root() == copies.other.root());
}

TEST_CASE("the place of a block counts", "[engine]") {
  Copies copies;
  copies.one.update({{1}, 1}, block_of(1));
  copies.one.update({{2}, 1}, block_of(2));
  copies.other.update({{1}, 1}, block_of(2));
  copies.other.update({{2}, 1}, block_of(1));
  CHECK(copies.one.root() != copies.other.root());
}

TEST_CASE("an update tells how many blocks changed", "[engine]") {
  Copies copies;
  auto blocks = blocks_of(4, 1);
  CHECK(copies.one.update({{8}, 4}, blocks) == 4);
  CHECK(copies.one.update({{8}, 4}, blocks) == 0);
  blocks[2 * kBlockBytes] = std::byte{9};
  CHECK(copies.one.update({{8}, 4}, blocks) == 1);
  CHECK(copies.one.update_zeroes({{0}, 100'000}) == 4);
  CHECK(copies.one.root() == Bits128{});
}

TEST_CASE("the next block that is not zero is found across holes of the index", "[engine]") {
  Copies copies;
  copies.one.update({{70'000}, 3}, blocks_of(3, 1));
  CHECK(copies.one.next_nonzero({{0}, 100'000}) == Extent{{70'000}, 3});
  CHECK(copies.one.next_nonzero({{70'001}, 1}) == Extent{{70'001}, 1});
  CHECK(!copies.one.next_nonzero({{70'003}, 29'997}));
  CHECK(!copies.one.next_nonzero({{0}, 70'000}));
}

TEST_CASE("emptying one block leaves its neighbours recorded", "[engine]") {
  Copies copies;
  copies.one.update({{0}, 3}, blocks_of(3, 1));
  copies.one.update_zeroes({{1}, 1});
  copies.other.update({{0}, 1}, block_of(1));
  copies.other.update({{2}, 1}, block_of(1));
  CHECK(copies.one.root() == copies.other.root());
  CHECK(copies.one.update({{2}, 1}, block_of(1)) == 0);
}
