// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/image_sink.h"

#include <sys/stat.h>

#include <fstream>

#include "base/error.h"
#include "engine/device_volume.h"
#include "engine/volume_copier.h"
#include "tests/catch.h"
#include "tests/support/run_task.h"
#include "tests/support/temporary_directory.h"

using namespace vmigrate;

namespace {

constexpr VolumeGeometry kGeometry{std::uint64_t{8} << 20};

struct Place {
  TestDirectory directory;
  std::filesystem::path image = directory.path() / "image";
  asio::thread_pool pool{1};
};

template <typename Action>
Errc failure_of(Action action) {
  try {
    action();
  } catch (const Error& failure) {
    return failure.code_or(Errc::internal);
  }
  FAIL("nothing was thrown");
  return Errc::internal;
}

struct stat status_of(const std::filesystem::path& path) {
  struct stat status {};
  check_syscall(::stat(path.c_str(), &status), "stat", path.string());
  return status;
}

std::vector<std::byte> ones() { return std::vector<std::byte>(kExtentBlocksMax * kBlockBytes, std::byte{1}); }

}  // namespace

TEST_CASE("a new image is sparse and nobody else's", "[engine]") {
  Place place;
  const auto sink = create_image_sink(place.pool, place.image, kGeometry, 0);
  const auto status = status_of(place.image);
  CHECK(status.st_size == static_cast<off_t>(kGeometry.bytes));
  CHECK(status.st_blocks == 0);
  CHECK((status.st_mode & 0777) == 0600);
}

TEST_CASE("an image is never written over", "[engine]") {
  Place place;
  std::ofstream(place.image) << "precious";
  CHECK(failure_of([&] { create_image_sink(place.pool, place.image, kGeometry, 0); }) == Errc::already_exists);
  CHECK(status_of(place.image).st_size == 8);
}

TEST_CASE("an image is not written through a link", "[engine]") {
  Place place;
  std::filesystem::create_symlink(place.directory.path() / "elsewhere", place.image);
  CHECK(failure_of([&] { create_image_sink(place.pool, place.image, kGeometry, 0); }) == Errc::already_exists);
  CHECK(!std::filesystem::exists(place.directory.path() / "elsewhere"));
}

TEST_CASE("an image that will not fit is refused before it exists", "[engine]") {
  Place place;
  CHECK(failure_of([&] { create_image_sink(place.pool, place.image, kGeometry, std::uint64_t{1} << 60); }) ==
        Errc::no_space);
  CHECK(!std::filesystem::exists(place.image));
}

TEST_CASE("zeroes give room back", "[engine]") {
  Place place;
  const auto sink = create_image_sink(place.pool, place.image, kGeometry, 0);
  const auto bytes = ones();
  run_task(sink->write({{0}, kExtentBlocksMax}, bytes));
  run_task(sink->write_zeroes({{0}, kExtentBlocksMax}));
  run_task(sink->flush());
  CHECK(status_of(place.image).st_blocks == 0);
}

TEST_CASE("an existing file is zeroed before it becomes a copy", "[engine]") {
  Place place;
  {
    const auto before = create_image_sink(place.pool, place.image, kGeometry, 0);
    const auto bytes = ones();
    run_task(before->write({{100}, kExtentBlocksMax}, bytes));
  }
  const auto sink = open_device_sink(place.pool, place.image, kGeometry);
  CHECK(!open_source(place.pool, place.image)->next_data({0}));
}

TEST_CASE("a file that is too small is refused and left alone", "[engine]") {
  Place place;
  std::ofstream(place.image) << "precious";
  CHECK(failure_of([&] { open_device_sink(place.pool, place.image, kGeometry); }) == Errc::no_space);
  CHECK(status_of(place.image).st_size == 8);
}

TEST_CASE("a source that becomes shorter is an error, not zeroes", "[engine]") {
  Place place;
  create_image_sink(place.pool, place.image, kGeometry, 0);
  const auto source = open_source(place.pool, place.image);
  std::filesystem::resize_file(place.image, kBlockBytes);
  std::vector<std::byte> into(2 * kBlockBytes);
  CHECK(failure_of([&] { run_task(source->read({{0}, 2}, into)); }) == Errc::copy_failed);
}

TEST_CASE("a directory is no source", "[engine]") {
  Place place;
  CHECK(failure_of([&] { open_source(place.pool, place.directory.path()); }) == Errc::usage);
}

TEST_CASE("an image that is there is opened as it is, and keeps what is not written over", "[engine]") {
  Place place;
  const auto blocks = ones();
  const std::span<const std::byte> bytes(blocks);
  {
    const auto first = create_image_sink(place.pool, place.image, kGeometry, 0);
    run_task(first->write({{0}, kExtentBlocksMax}, bytes));
  }
  const auto sink = open_image_sink(place.pool, place.image, kGeometry);
  run_task(sink->write_zeroes({{0}, 1}));
  run_task(sink->flush());
  const auto source = open_source(place.pool, place.image);
  CHECK(source->next_data({0}) == Extent{{1}, kExtentBlocksMax - 1});
}

TEST_CASE("what is no image of that size is not opened as one", "[engine]") {
  Place place;
  const auto open = [&] { open_image_sink(place.pool, place.image, kGeometry); };
  SECTION("nothing") {}
  SECTION("another size") { std::ofstream(place.image) << "short"; }
  SECTION("a directory") { std::filesystem::create_directory(place.image); }
  SECTION("a link") {
    create_image_sink(place.pool, place.directory.path() / "other", kGeometry, 0);
    std::filesystem::create_symlink("other", place.image);
  }
  CHECK_THROWS_AS(open(), Error);
}
