// SPDX-License-Identifier: GPL-2.0-or-later
// What the source keeps of a container that runs elsewhere, and when it goes.
#include "migrate/kept_copy.h"

#include <fstream>

#include "tests/catch.h"
#include "tests/support/temporary_directory.h"

using namespace vmigrate;
namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kUntil = 1'700'000'000;

/// An image beside a bundle, both kept until kUntil.
struct World {
  World() {
    fs::create_directories(directory.path() / "kept");
    fs::create_directories(copy.bundle / "rootfs");
    std::ofstream(copy.bundle / "config.json") << "{}";
    std::ofstream(copy.image) << "blocks";
    copies.write(copy);
  }
  bool is_there() const { return fs::exists(copy.image) && fs::exists(copy.bundle) && copies.list().size() == 1; }
  bool is_gone() const { return !fs::exists(copy.image) && !fs::exists(copy.bundle) && copies.list().empty(); }

  TestDirectory directory;
  KeptCopies copies{NoteDir(directory.path() / "kept")};
  KeptCopy copy{.container = "ct",
                .migration = {1, 2},
                .image = directory.path() / "ct.img.migrated-1",
                .bundle = directory.path() / "ct.migrated-1",
                .until = kUntil};
};

}  // namespace

TEST_CASE("a kept copy stays until its time is over, and goes then", "[migrate][kept]") {
  World world;
  CHECK(remove_expired(world.copies, kUntil - 1).empty());
  CHECK(world.is_there());
  CHECK(remove_expired(world.copies, kUntil).size() == 1);
  CHECK(world.is_gone());
}

TEST_CASE("a kept copy comes back as it was noted", "[migrate][kept]") {
  World world;
  const KeptCopy read = world.copies.list().at(0);
  CHECK(read.container == "ct");
  CHECK(read.migration == world.copy.migration);
  CHECK(read.image == world.copy.image);
  CHECK(read.bundle == world.copy.bundle);
  CHECK(read.until == kUntil);
}

TEST_CASE("files that somebody else removed are no reason to keep the note", "[migrate][kept]") {
  World world;
  fs::remove(world.copy.image);
  fs::remove_all(world.copy.bundle);
  world.copies.remove(world.copy);
  CHECK(world.is_gone());
}

TEST_CASE("a note that cannot be understood removes nothing", "[migrate][kept]") {
  World world;
  const fs::path note = fs::directory_iterator(world.directory.path() / "kept")->path();
  std::string text;
  SECTION("no JSON") { text = "{"; }
  SECTION("a field is missing") { text = R"({"container":"ct"})"; }
  SECTION("another copy's") { fs::rename(note, note.parent_path() / "db.00000000000000010000000000000002"); }
  if (!text.empty()) std::ofstream(note) << text;
  CHECK(remove_expired(world.copies, kUntil).empty());
  CHECK(fs::exists(world.copy.image));
  CHECK(fs::exists(world.copy.bundle));
}
