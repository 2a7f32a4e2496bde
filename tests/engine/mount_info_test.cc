// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/mount_info.h"

#include "tests/catch.h"

using namespace vmigrate;

namespace {

constexpr auto kTable =
    "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
    "40 22 7:3 / /srv/ct7/rootfs rw,noatime shared:5 master:2 - ext4 /dev/loop3 rw,discard\n"
    "41 22 254:0 /srv/plain /srv/bind rw - ext4 /dev/vda rw\n"
    "42 22 0:50 / /srv/with\\040space\\134and\\011tab rw - overlay overlay rw,lowerdir=/a\n"
    "50 22 7:5 / /srv/stack rw - xfs /dev/loop5 rw\n"
    "51 50 7:6 / /srv/stack rw - ext4 /dev/loop6 rw\n"
    "nonsense\n"
    "60 22 7:x / /srv/bad rw - ext4 /dev/loop9 rw\n"
    "61 22 7:9 / /srv/short rw\n";

}  // namespace

TEST_CASE("a mount is found with its device and file system", "[engine]") {
  const auto mount = topmost_mount_at(kTable, "/srv/ct7/rootfs");
  REQUIRE(mount);
  CHECK(mount->major == 7);
  CHECK(mount->minor == 3);
  CHECK(mount->root == "/");
  CHECK(mount->file_system == "ext4");
}

TEST_CASE("a mount of a part of a file system says which part", "[engine]") {
  CHECK(topmost_mount_at(kTable, "/srv/bind")->root == "/srv/plain");
}

TEST_CASE("names with spaces, tabs and backslashes are found", "[engine]") {
  const auto mount = topmost_mount_at(kTable, "/srv/with space\\and\ttab");
  REQUIRE(mount);
  CHECK(mount->file_system == "overlay");
  CHECK(mount->major == 0);
}

TEST_CASE("of mounts on top of each other the topmost counts", "[engine]") {
  CHECK(topmost_mount_at(kTable, "/srv/stack")->minor == 6);
}

TEST_CASE("a directory below a mount is not a mount", "[engine]") {
  CHECK(!topmost_mount_at(kTable, "/srv/ct7/rootfs/etc"));
  CHECK(!topmost_mount_at(kTable, "/srv/ct7"));
  CHECK(!topmost_mount_at("", "/"));
}

TEST_CASE("lines that cannot be read are skipped", "[engine]") {
  CHECK(!topmost_mount_at(kTable, "/srv/bad"));
  CHECK(!topmost_mount_at(kTable, "/srv/short"));
}
