// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/dirty_set.h"

#include <algorithm>
#include <random>
#include <set>
#include <vector>

#include "tests/catch.h"

using namespace vmigrate;

namespace {

constexpr std::uint64_t kChunk = DirtySet::kChunkBlocks;
constexpr std::size_t kNoWords = 0;

std::vector<Extent> runs_of(const DirtySet& set) {
  std::vector<Extent> runs;
  for (auto run = set.next_run({0}); run; run = set.next_run(run->end())) runs.push_back(*run);
  return runs;
}

/// The same operations on a plain std::set.
class Model {
 public:
  explicit Model(std::uint64_t block_count) : block_count_(block_count) {}
  void add(Extent extent) {
    for (auto block = extent.first.value; block < extent.end().value && block < block_count_; ++block)
      blocks_.insert(block);
  }
  void remove(Extent extent) {
    blocks_.erase(blocks_.lower_bound(extent.first.value), blocks_.lower_bound(extent.end().value));
  }
  const std::set<std::uint64_t>& blocks() const { return blocks_; }

 private:
  std::uint64_t block_count_;
  std::set<std::uint64_t> blocks_;
};

std::set<std::uint64_t> blocks_of(const DirtySet& set) {
  std::set<std::uint64_t> blocks;
  for (const auto& run : runs_of(set))
    for (auto block = run.first.value; block < run.end().value; ++block) blocks.insert(block);
  return blocks;
}

struct RandomExtents {
  std::mt19937_64 engine;
  std::uint64_t block_count;
  Extent next() {
    const auto first = engine() % block_count;
    const auto is_long = engine() % 8 == 0;
    return {{first}, 1 + engine() % (is_long ? kChunk * 2 : 100)};
  }
};

}  // namespace

TEST_CASE("a new set is empty", "[engine]") {
  const DirtySet set(1000);
  CHECK(set.empty());
  CHECK(!set.next_run({0}));
}

TEST_CASE("neighbouring blocks become one run, across chunks too", "[engine]") {
  DirtySet set(3 * kChunk);
  set.add(Extent{{kChunk - 2}, 2});
  set.add(Extent{{kChunk}, 3});
  CHECK(runs_of(set) == std::vector<Extent>{{{kChunk - 2}, 5}});
}

TEST_CASE("a run is cut at the given length", "[engine]") {
  DirtySet set(1000);
  set.add(Extent{{10}, 300});
  CHECK(set.next_run({0}, 256) == Extent{{10}, 256});
  CHECK(set.next_run({266}, 256) == Extent{{266}, 44});
}

TEST_CASE("what lies behind the end of the volume is left out", "[engine]") {
  DirtySet set(100);
  set.add(Extent{{90}, 1000});
  set.add(Extent{{200}, 5});
  set.add(Extent{{99}, UINT64_MAX - 99});
  CHECK(set.count() == 10);
  set.add_word({64}, ~std::uint64_t{0});
  CHECK(set.count() == 36);
  CHECK(!set.contains({100}));
}

TEST_CASE("a word adds its bits, the least significant first", "[engine]") {
  DirtySet set(1000);
  set.add_word({128}, 0b1011);
  CHECK(blocks_of(set) == std::set<std::uint64_t>{128, 129, 131});
}

TEST_CASE("all of a volume can be added and taken out again", "[engine]") {
  DirtySet set(2 * kChunk + 7);
  set.add_all();
  CHECK(set.count() == 2 * kChunk + 7);
  CHECK(runs_of(set) == std::vector<Extent>{{{0}, 2 * kChunk + 7}});
  set.remove({{0}, 2 * kChunk});
  CHECK(runs_of(set) == std::vector<Extent>{{{2 * kChunk}, 7}});
}

TEST_CASE("a piece can be taken out of a whole chunk", "[engine]") {
  DirtySet set(kChunk + 10);
  set.add_all();
  set.remove({{100}, 5});
  CHECK(set.count() == kChunk + 5);
  CHECK(!set.contains({102}));
}

TEST_CASE("a set takes in another", "[engine]") {
  DirtySet one(3 * kChunk);
  DirtySet other(3 * kChunk);
  one.add(Extent{{1}, 1});
  other.add(Extent{{1}, 2});
  other.add(Extent{{kChunk}, kChunk});
  one.add(other);
  CHECK(runs_of(one) == std::vector<Extent>{{{1}, 2}, {{kChunk}, kChunk}});
  CHECK(one.count() == 2 + kChunk);
}

TEST_CASE("a set is taken out of another", "[engine]") {
  DirtySet one(3 * kChunk);
  DirtySet other(3 * kChunk);
  one.add(Extent{{0}, 2 * kChunk});
  other.add(Extent{{5}, 1});
  other.add(Extent{{kChunk}, 2 * kChunk});
  one.remove_all_of(other);
  CHECK(runs_of(one) == std::vector<Extent>{{{0}, 5}, {{6}, kChunk - 6}});
}

TEST_CASE("what two sets have in common is what each of them has", "[engine][property]") {
  const auto seed = GENERATE(take(20, random(1, 1'000'000)));
  INFO("seed " << seed);
  constexpr std::uint64_t kBlocks = 4 * kChunk + 77;
  RandomExtents extents{std::mt19937_64(static_cast<std::uint64_t>(seed)), kBlocks};
  DirtySet one(kBlocks), other(kBlocks);
  Model in_both(kBlocks);
  for (int step = 0; step < 10; ++step) {
    one.add(extents.next());
    other.add(extents.next());
  }
  for (std::uint64_t block = 0; block < kBlocks; ++block)
    if (one.contains({block}) && other.contains({block})) in_both.add(Extent{{block}, 1});
  CHECK(blocks_of(one.common_with(other)) == in_both.blocks());
}

TEST_CASE("without memory a chunk is taken whole", "[engine]") {
  DirtySet set(2 * kChunk, kNoWords);
  set.add(Extent{{5}, 1});
  CHECK(set.count() == kChunk);
  CHECK(set.contains({5}));
  set.remove({{0}, kChunk});
  CHECK(set.empty());
}

TEST_CASE("with memory enough a set is exact", "[engine][property]") {
  const auto seed = GENERATE(take(20, random(1, 1'000'000)));
  INFO("seed " << seed);
  constexpr std::uint64_t kBlocks = 4 * kChunk + 77;
  RandomExtents extents{std::mt19937_64(static_cast<std::uint64_t>(seed)), kBlocks};
  DirtySet set(kBlocks);
  Model model(kBlocks);
  for (int step = 0; step < 30; ++step) {
    const auto extent = extents.next();
    if (step % 3 == 2) {
      set.remove(extent);
      model.remove(extent);
    } else {
      set.add(extent);
      model.add(extent);
    }
  }
  CHECK(blocks_of(set) == model.blocks());
  CHECK(set.count() == model.blocks().size());
}

TEST_CASE("at its bound a set holds more than was added, never less", "[engine][property]") {
  const auto seed = GENERATE(take(20, random(1, 1'000'000)));
  INFO("seed " << seed);
  constexpr std::uint64_t kBlocks = 4 * kChunk + 77;
  RandomExtents extents{std::mt19937_64(static_cast<std::uint64_t>(seed)), kBlocks};
  DirtySet set(kBlocks, 2 * kChunk / 8);
  Model model(kBlocks);
  for (int step = 0; step < 30; ++step) {
    const auto extent = extents.next();
    if (step % 3 == 2) {
      set.remove(extent);
      model.remove(extent);
    } else {
      set.add(extent);
      model.add(extent);
    }
  }
  const auto held = blocks_of(set);
  CHECK(std::includes(held.begin(), held.end(), model.blocks().begin(), model.blocks().end()));
  CHECK(set.count() == held.size());
}
