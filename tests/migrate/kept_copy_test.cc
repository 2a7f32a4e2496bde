// SPDX-License-Identifier: GPL-2.0-or-later
// What a host keeps of a container that runs elsewhere, when it goes, and what can be begun with.
#include "migrate/kept_copy.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "base/unique_fd.h"
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

constexpr std::uint64_t kVolumeBytes = kBaseBytesMin + (1 << 20);

/// Kept copies of "ct", each as large as the volume, with `allocated` bytes of it on the disk.
struct Shelf {
  Shelf() { fs::create_directories(directory.path() / "kept"); }

  KeptCopy put(std::uint64_t migration, std::uint64_t written_at, std::uint64_t allocated = kBaseBytesMin) {
    KeptCopy copy{.container = "ct",
                  .migration = {migration, 0},
                  .image = directory.path() / ("ct.img.migrated-" + std::to_string(migration)),
                  .until = kUntil};
    const UniqueFd file(::open(copy.image.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    REQUIRE(::ftruncate(file.get(), static_cast<off_t>(kVolumeBytes)) == 0);
    REQUIRE(::posix_fallocate(file.get(), 0, static_cast<off_t>(allocated)) == 0);
    const timespec time{static_cast<time_t>(written_at), 0};
    const timespec times[2] = {time, time};
    REQUIRE(::futimens(file.get(), times) == 0);
    copies.write(copy);
    return copy;
  }
  std::optional<KeptCopy> base(const std::string& container = "ct", std::uint64_t volume_bytes = kVolumeBytes) const {
    return find_base(copies, container, volume_bytes, directory.path());
  }

  TestDirectory directory;
  KeptCopies copies{NoteDir(directory.path() / "kept")};
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

TEST_CASE("a partial copy comes back as one, and a note of an earlier version is of none", "[migrate][kept]") {
  KeptCopy copy{.container = "ct", .migration = {1, 2}, .image = "/ct.img.partial-1", .is_partial = true};
  CHECK(kept_copy_from_json(to_json(copy)).is_partial);
  copy.is_partial = false;
  const std::string text = to_json(copy);
  CHECK(text.find("partial\"") == std::string::npos);
  CHECK_FALSE(kept_copy_from_json(text).is_partial);
}

TEST_CASE("an arrival begins with the copy that was written last", "[migrate][kept]") {
  Shelf shelf;
  shelf.put(1, 1000);
  shelf.put(2, 3000);
  shelf.put(3, 2000);
  REQUIRE(shelf.base());
  CHECK(shelf.base()->migration == Bits128{2, 0});
}

TEST_CASE("an arrival begins with nothing that does not fit it", "[migrate][kept]") {
  Shelf shelf;
  std::uint64_t allocated = kBaseBytesMin;
  SECTION("another container's") {
    shelf.put(1, 1000);
    CHECK_FALSE(shelf.base("ct2"));
  }
  SECTION("of a volume of another size") {
    shelf.put(1, 1000);
    CHECK_FALSE(shelf.base("ct", kVolumeBytes + 4096));
  }
  SECTION("with hardly anything in it") {
    allocated = kBaseBytesMin / 2;
    shelf.put(1, 1000, allocated);
    CHECK_FALSE(shelf.base());
  }
  SECTION("that somebody else removed") {
    fs::remove(shelf.put(1, 1000).image);
    CHECK_FALSE(shelf.base());
  }
  SECTION("that has another name as well") {
    const KeptCopy copy = shelf.put(1, 1000);
    fs::create_hard_link(copy.image, copy.image.native() + ".mine");
    CHECK_FALSE(shelf.base());
  }
  SECTION("a link to an image") {
    const KeptCopy copy = shelf.put(1, 1000);
    fs::rename(copy.image, copy.image.native() + ".mine");
    fs::create_symlink(copy.image.native() + ".mine", copy.image);
    CHECK_FALSE(shelf.base());
  }
}
