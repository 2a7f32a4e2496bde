// SPDX-License-Identifier: GPL-2.0-or-later
// Real loop devices, mounts and freezes. Needs root and /dev/loop-control; exits 77 where it cannot run.
#include "engine/device_volume.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <future>

#include "base/error.h"
#include "base/subprocess.h"
#include "engine/image_builder.h"
#include "engine/loop_device.h"
#include "tests/catch.h"
#include "tests/support/run_task.h"
#include "tests/support/temporary_directory.h"

using namespace vmigrate;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t kImageBytes = std::uint64_t{32} << 20;

/// Says why and ends the program the way CTest takes for "skipped". Runs before main(), so that no test needs to ask.
const bool kCanRun = [] {
  if (::geteuid() == 0 && ::access("/dev/loop-control", R_OK | W_OK) == 0) return true;
  std::puts("SKIPPED: needs root and /dev/loop-control");
  std::fflush(stdout);
  std::_Exit(77);
}();

/// An ext4 image with one file, not mounted yet.
struct Host {
  Host() {
    std::filesystem::create_directories(directory.path() / "tree");
    std::filesystem::create_directories(mount_point);
    std::ofstream(directory.path() / "tree" / "file") << "before";
    create_image({directory.path() / "tree", kImageBytes, image});
  }
  ~Host() { pool.join(); }
  MountedImage mount() { return MountedImage::attach(image, mount_point, "ext4"); }

  TestDirectory directory;
  asio::thread_pool pool{2};
  std::filesystem::path image = directory.path() / "image";
  std::filesystem::path mount_point = directory.path() / "mount point";
};

std::string whole_content(BlockSource& source) {
  const auto count = source.geometry().block_count();
  std::string content;
  for (std::uint64_t first = 0; first < count; first += kExtentBlocksMax) {
    const Extent extent{{first}, std::min(kExtentBlocksMax, count - first)};
    std::vector<std::byte> bytes(extent.bytes());
    run_task(source.read(extent, bytes));
    content.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  return content;
}

Errc failure_of_find(const std::filesystem::path& rootfs) {
  try {
    find_mounted_device(rootfs);
  } catch (const Error& failure) {
    CHECK(std::string(failure.what()).find("vmigrate image create --from " + rootfs.string()) != std::string::npos);
    return failure.code_or(Errc::internal);
  }
  return Errc::internal;
}

}  // namespace

TEST_CASE("a mounted image is found by its mount point", "[engine][root]") {
  Host host;
  const auto mounted = host.mount();
  const auto found = find_mounted_device(host.mount_point);
  CHECK(found.device == mounted.device());
  CHECK(found.mount_point == host.mount_point);
  CHECK(found.file_system == "ext4");
  CHECK(found.image == host.image);
}

TEST_CASE("a plain directory is refused with the command that converts it", "[engine][root]") {
  Host host;
  CHECK(failure_of_find(host.directory.path()) == Errc::rootfs_not_on_device);
  CHECK(failure_of_find("/proc") == Errc::rootfs_not_on_device);
}

TEST_CASE("an image is unmounted and detached when its owner goes", "[engine][root]") {
  Host host;
  std::filesystem::path device;
  {
    const auto mounted = host.mount();
    device = mounted.device();
    CHECK(std::filesystem::exists(host.mount_point / "file"));
  }
  CHECK(!std::filesystem::exists(host.mount_point / "file"));
  const UniqueFd node(::open(device.c_str(), O_RDONLY | O_CLOEXEC));
  const UniqueFd file(::open(host.image.c_str(), O_RDONLY | O_CLOEXEC));
  const auto status = loop_status(node.get(), device);
  CHECK((!status || !is_backed_by(*status, file.get())));
}

TEST_CASE("a kept image stays mounted until it is unmounted by name, once or twice", "[engine][root]") {
  Host host;
  MountedDevice device;
  {
    auto mounted = host.mount();
    device = mounted.mounted();
    mounted.keep();
  }
  CHECK(std::filesystem::exists(host.mount_point / "file"));
  unmount_image(device);
  unmount_image(device);
  CHECK(!std::filesystem::exists(host.mount_point / "file"));
}

TEST_CASE("an image that cannot be mounted leaves no loop device behind", "[engine][root]") {
  Host host;
  std::filesystem::resize_file(host.image, 0);
  std::filesystem::resize_file(host.image, kImageBytes);
  CHECK_THROWS_AS(host.mount(), Error);
  Command list;
  list.argv = {"losetup", "--associated", host.image.string()};
  CHECK(run_checked(list, Errc::internal).output.empty());
}

TEST_CASE("a volume in use is read through its image file", "[engine][root]") {
  Host host;
  const auto mounted = host.mount();
  const auto volume = open_volume(host.pool, mounted.mounted());
  CHECK(volume->geometry().bytes == kImageBytes);
  std::ofstream(host.mount_point / "file") << "needle 4711 in the haystack";
  run_task(volume->write_back());
  CHECK(whole_content(*volume).find("needle 4711") != std::string::npos);
}

TEST_CASE("a volume whose mount or file changed meanwhile is refused", "[engine][root]") {
  Host host;
  const auto mounted = host.mount();
  auto other_place = mounted.mounted();
  other_place.mount_point = host.directory.path();
  CHECK_THROWS_AS(open_volume(host.pool, other_place), Error);
  std::filesystem::rename(host.image, host.directory.path() / "moved");
  std::filesystem::copy_file(host.directory.path() / "moved", host.image);
  CHECK_THROWS_AS(open_volume(host.pool, mounted.mounted()), Error);
}

TEST_CASE("a volume holds still as long as it is held, and no longer", "[engine][root]") {
  Host host;
  const auto mounted = host.mount();
  const auto volume = open_volume(host.pool, mounted.mounted());
  auto quiet = run_task(volume->quiesce());
  auto writer = std::async(std::launch::async, [&] { std::ofstream(host.mount_point / "file") << "after"; });
  CHECK(writer.wait_for(200ms) == std::future_status::timeout);
  const auto before = whole_content(*volume);
  CHECK(before == whole_content(*volume));
  quiet.reset();
  writer.get();
}

TEST_CASE("deleted files become holes by a trim", "[engine][root]") {
  Host host;
  const auto mounted = host.mount();
  const auto volume = open_volume(host.pool, mounted.mounted());
  const auto data_blocks = [&] {
    std::uint64_t blocks = 0;
    for (auto data = volume->next_data({0}); data; data = volume->next_data(data->end())) blocks += data->count;
    return blocks;
  };
  std::ofstream(host.mount_point / "large") << std::string(8 << 20, 'x');
  run_task(volume->write_back());
  const auto blocks_before = data_blocks();
  std::filesystem::remove(host.mount_point / "large");
  run_task(volume->write_back());
  CHECK(trim(mounted.mounted()) > 0);
  CHECK(data_blocks() + 1800 < blocks_before);
}

TEST_CASE("a device is read by O_DIRECT, into memory of any alignment", "[engine][root]") {
  Host host;
  const auto loop = attach_loop(host.image);
  const auto device = open_source(host.pool, loop.path);
  const auto file = open_source(host.pool, host.image);
  CHECK(whole_content(*device) == whole_content(*file));
  CHECK(device->next_data({5}) == Extent{{5}, kImageBytes / kBlockBytes - 5});
}

TEST_CASE("a device is zeroed before it becomes a copy, and one in use is refused", "[engine][root]") {
  Host host;
  {
    const auto mounted = host.mount();
    CHECK_THROWS_AS(open_device_sink(host.pool, mounted.device(), {kImageBytes}), Error);
  }
  const auto loop = attach_loop(host.image);
  const auto sink = open_device_sink(host.pool, loop.path, {kImageBytes});
  const std::vector<std::byte> bytes(kBlockBytes, std::byte{7});
  run_task(sink->write({{3}, 1}, bytes));
  run_task(sink->flush());
  const auto content = whole_content(*open_source(host.pool, host.image));
  CHECK(std::count(content.begin(), content.end(), '\7') == kBlockBytes);
  CHECK(std::count(content.begin(), content.end(), '\0') == static_cast<std::ptrdiff_t>(kImageBytes - kBlockBytes));
}

TEST_CASE("a full file system is reported as no space, with the path", "[engine][root]") {
  Host host;
  const auto mounted = host.mount();
  const auto path = host.mount_point / "copy";
  const auto sink = create_image_sink(host.pool, path, {kImageBytes * 4}, 0);
  const std::vector<std::byte> bytes(kExtentBlocksMax * kBlockBytes, std::byte{7});
  const auto fill = [&] {
    for (std::uint64_t extent = 0; extent < 64; ++extent)
      run_task(sink->write({{extent * kExtentBlocksMax}, kExtentBlocksMax}, bytes));
  };
  try {
    fill();
    FAIL("it fitted");
  } catch (const Error& failure) {
    CHECK(failure.code_or(Errc::internal) == Errc::disk_full);
    CHECK(std::string(failure.what()).find(path.string()) != std::string::npos);
  }
}
