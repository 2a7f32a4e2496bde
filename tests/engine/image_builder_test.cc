// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/image_builder.h"

#include <fstream>

#include "base/error.h"
#include "base/subprocess.h"
#include "tests/catch.h"
#include "tests/support/temporary_directory.h"

using namespace vmigrate;

namespace {

constexpr std::uint64_t kImageBytes = std::uint64_t{16} << 20;

struct Rootfs {
  Rootfs() {
    std::filesystem::create_directories(tree / "etc");
    std::ofstream(tree / "etc" / "hostname") << "ct7\n";
    std::filesystem::create_hard_link(tree / "etc" / "hostname", tree / "etc" / "name");
    std::filesystem::create_symlink("hostname", tree / "etc" / "link");
    std::filesystem::permissions(tree, std::filesystem::perms{0711});
  }
  TestDirectory directory;
  std::filesystem::path tree = directory.path() / "rootfs";
  std::filesystem::path image = directory.path() / "image";
};

std::string ask_image(const std::filesystem::path& image, const std::string& request) {
  Command command;
  command.argv = {"debugfs", "-R", request, image.string()};
  return run_checked(command, Errc::internal).output;
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

void check_content(const std::filesystem::path& image) {
  Command check;
  check.argv = {"e2fsck", "-fn", image.string()};
  CHECK(run_command(check).exit_status == 0);
  CHECK(ask_image(image, "cat /etc/name") == "ct7\n");
  CHECK(contains(ask_image(image, "stat /etc/hostname"), "Links: 2"));
  CHECK(contains(ask_image(image, "stat /etc/link"), "hostname"));
  CHECK(contains(ask_image(image, "stat /"), "Mode:  0711"));
  CHECK(std::filesystem::file_size(image) == kImageBytes);
}

Errc failure_of(const ImageRequest& request) {
  try {
    create_image(request);
  } catch (const Error& failure) {
    return failure.code_or(Errc::internal);
  }
  FAIL("nothing was thrown");
  return Errc::internal;
}

std::size_t entries_in(const std::filesystem::path& directory) {
  return static_cast<std::size_t>(
      std::distance(std::filesystem::directory_iterator(directory), std::filesystem::directory_iterator{}));
}

}  // namespace

TEST_CASE("a directory becomes an image with everything in it", "[engine]") {
  Rootfs rootfs;
  create_image({rootfs.tree, kImageBytes, rootfs.image});
  check_content(rootfs.image);
}

TEST_CASE("a tar archive becomes the same image", "[engine]") {
  Rootfs rootfs;
  const auto archive = rootfs.directory.path() / "rootfs.tar";
  Command pack;
  pack.argv = {"tar", "-cf", archive.string(), "-C", rootfs.tree.string(), "."};
  run_checked(pack, Errc::internal);
  create_image({archive, kImageBytes, rootfs.image});
  check_content(rootfs.image);
  CHECK(entries_in(rootfs.directory.path()) == 3);
}

TEST_CASE("content that does not fit says so and leaves no file behind", "[engine]") {
  Rootfs rootfs;
  std::ofstream(rootfs.tree / "large") << std::string(20 << 20, 'x');
  CHECK(failure_of({rootfs.tree, kImageBytes, rootfs.image}) == Errc::no_space);
  CHECK(!std::filesystem::exists(rootfs.image));
}

TEST_CASE("what is no archive says so and leaves no file behind", "[engine]") {
  Rootfs rootfs;
  CHECK(failure_of({rootfs.tree / "etc" / "hostname", kImageBytes, rootfs.image}) == Errc::usage);
  CHECK(failure_of({rootfs.tree / "missing", kImageBytes, rootfs.image}) == Errc::usage);
  CHECK(failure_of({rootfs.tree, kImageBytes + 1, rootfs.image}) == Errc::usage);
  CHECK(entries_in(rootfs.directory.path()) == 1);
}

TEST_CASE("an existing file is not made an image", "[engine]") {
  Rootfs rootfs;
  std::ofstream(rootfs.image) << "precious";
  CHECK(failure_of({rootfs.tree, kImageBytes, rootfs.image}) == Errc::already_exists);
  CHECK(std::filesystem::file_size(rootfs.image) == 8);
}
