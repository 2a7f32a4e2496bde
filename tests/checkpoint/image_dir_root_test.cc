// SPDX-License-Identifier: GPL-2.0-or-later
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "base/error.h"
#include "checkpoint/image_dir.h"
#include "tests/catch.h"
#include "tests/support/temporary_directory.h"

using namespace vmigrate;

namespace {

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

}  // namespace

TEST_CASE("what is written into an image directory is listed, read and verified", "[checkpoint][root]") {
  const TestDirectory parent;
  auto images = ImageDir::create(parent.path(), "images", 1 << 20);
  struct stat status{};
  REQUIRE(::stat(images.path().c_str(), &status) == 0);
  CHECK((status.st_mode & 07777) == 0700);
  images.write("pages-1.img", 3, bytes_of("lo"));
  images.write("pages-1.img", 0, bytes_of("hel"));
  images.write("core-1.img", 0, bytes_of("x"));
  std::ofstream(images.path() / "restore.log") << "a report, no image";
  auto files = images.list();
  REQUIRE(files.size() == 2);
  CHECK(files[0].name == "core-1.img");
  CHECK(files[1].bytes == 5);
  std::array<std::byte, 16> buffer{};
  CHECK(images.read("pages-1.img", 1, buffer) == 4);
  CHECK(buffer[0] == std::byte('e'));
  CHECK(images.read("pages-1.img", 5, buffer) == 0);
  CHECK_NOTHROW(images.verify(files));
  images.write("core-1.img", 0, bytes_of("y"));
  CHECK_THROWS_WITH(images.verify(files), "checkpoint file core-1.img is not what was sent");
  images.write("extra.img", 0, bytes_of("z"));
  CHECK_THROWS_AS(images.verify(files), Error);
  files.pop_back();
  CHECK_THROWS_AS(images.verify(files), Error);
}

TEST_CASE("an image directory refuses names that lead elsewhere, and more than its bounds", "[checkpoint][root]") {
  const TestDirectory parent;
  auto images = ImageDir::create(parent.path(), "images", 4096);
  for (const std::string& name :
       {std::string(), std::string(".."), std::string("a/b"), std::string("-x"), std::string(".x"),
        std::string("dump.log"), std::string("stats-restore"), std::string(256, 'a')})
    CHECK_THROWS_AS(images.write(name, 0, bytes_of("x")), Error);
  REQUIRE(::symlink("/etc/passwd", (images.path() / "link.img").c_str()) == 0);
  CHECK_THROWS_AS(images.write("link.img", 0, bytes_of("x")), Error);
  CHECK_NOTHROW(images.write("a.img", 4000, bytes_of(std::string(96, 'x'))));
  CHECK_THROWS_AS(images.write("a.img", 4000, bytes_of(std::string(97, 'x'))), Error);
  CHECK_THROWS_AS(images.write("b.img", 0, bytes_of("x")), Error);
  CHECK_THROWS_AS(images.write("a.img", ~std::uint64_t{0}, bytes_of("x")), Error);
}

TEST_CASE("an image directory takes mounts beneath it along, and nothing that is mounted there", "[checkpoint][root]") {
  const TestDirectory parent;
  const TestDirectory precious;
  std::ofstream(precious.path() / "file") << "keep";
  {
    auto images = ImageDir::create(parent.path(), "images", 1 << 20);
    const auto yard = images.path() / ".criu.cgyard.x";
    REQUIRE(::mkdir(yard.c_str(), 0700) == 0);
    REQUIRE(::mount(precious.path().c_str(), yard.c_str(), nullptr, MS_BIND, nullptr) == 0);
    CHECK(images.list().empty());
    const ImageDir moved = std::move(images);
  }
  CHECK(std::filesystem::is_empty(parent.path()));
  CHECK(std::filesystem::exists(precious.path() / "file"));
}
