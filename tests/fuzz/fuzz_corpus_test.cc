// SPDX-License-Identifier: GPL-2.0-or-later
// Every input that a fuzzer begins with or has found, through its target once more. Needs no fuzzer.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/log.h"
#include "tests/catch.h"
#include "tests/fuzz/fuzz_seeds.h"
#include "tests/fuzz/fuzz_targets.h"

using namespace vmigrate;

namespace {

namespace fs = std::filesystem;

struct Target {
  std::string name;
  void (*run)(fuzz::Bytes);
};
const std::vector<Target> kTargets = {
    {"frame", fuzz::frame}, {"message", fuzz::message},     {"codec", fuzz::codec},  {"journal", fuzz::journal},
    {"image", fuzz::image}, {"documents", fuzz::documents}, {"config", fuzz::config}};

constexpr std::uintmax_t kCorpusBytesMax = 200 << 10;

fs::path corpus() { return fs::path(VMIGRATE_SOURCE_DIR) / "tests/fuzz/corpus"; }

std::vector<std::byte> bytes_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

[[maybe_unused]] const bool kIsQuiet = (set_log_level(LogLevel::error), true);

}  // namespace

TEST_CASE("every file of the corpus keeps its target's promises", "[fuzz]") {
  for (const Target& target : kTargets) {
    std::size_t files = 0;
    for (const auto& entry : fs::directory_iterator(corpus() / target.name)) {
      INFO(entry.path().string());
      CHECK_NOTHROW(target.run(bytes_of(entry.path())));
      ++files;
    }
    INFO(target.name);
    CHECK(files > 0);
  }
}

TEST_CASE("every seed as it is made today keeps its target's promises", "[fuzz]") {
  for (const auto& seed : fuzz::all_seeds()) {
    INFO(seed.target << " " << seed.name);
    for (const Target& target : kTargets)
      if (target.name == seed.target) CHECK_NOTHROW(target.run(seed.bytes));
  }
}

TEST_CASE("the corpus belongs to known targets and stays small", "[fuzz]") {
  std::uintmax_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(corpus()))
    if (entry.is_regular_file()) bytes += entry.file_size();
  CHECK(bytes <= kCorpusBytesMax);
  const auto folders = std::distance(fs::directory_iterator(corpus()), fs::directory_iterator());
  CHECK(static_cast<std::size_t>(folders) == kTargets.size());
}
