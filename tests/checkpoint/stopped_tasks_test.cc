// SPDX-License-Identifier: GPL-2.0-or-later
#include "checkpoint/stopped_tasks.h"

#include <unistd.h>

#include "base/error.h"
#include "tests/catch.h"

using namespace vmigrate;

namespace {

/// A core image of one process: magic numbers, a length, then fields mtype = 1 and tc { task_state, exit_code }.
std::vector<std::byte> core_image(std::uint8_t state) {
  std::vector<std::byte> image;
  ByteWriter writer(image);
  writer.u32(0x54564319);
  writer.u32(0x55053847);
  writer.u32(8);
  const std::uint8_t fields[] = {0x08, 0x01, 0x1a, 0x04, 0x08, state, 0x10, 0x00};
  for (const std::uint8_t byte : fields) writer.u8(byte);
  return image;
}

}  // namespace

TEST_CASE("a core image tells whether its process was stopped", "[checkpoint]") {
  CHECK(is_stopped_in_core_image(core_image(3)) == true);
  CHECK(is_stopped_in_core_image(core_image(1)) == false);
}

TEST_CASE("a damaged core image is an error at every length, never a crash", "[checkpoint]") {
  const auto image = core_image(3);
  for (std::size_t length = 0; length < image.size(); ++length)
    CHECK_THROWS_AS(is_stopped_in_core_image(std::span(image).first(length)), Error);
  for (std::size_t at = 0; at < image.size(); ++at)
    for (int bit = 0; bit < 8; ++bit) {
      auto flipped = image;
      flipped[at] ^= std::byte(1 << bit);
      try {
        is_stopped_in_core_image(flipped);
      } catch (const Error&) {
        // Refusing is right as well.
      }
    }
}

TEST_CASE("our own process id within our own PID namespace is itself", "[checkpoint]") {
  CHECK(pid_within_container(::getpid(), ::getpid()) == ::getpid());
  CHECK(pid_within_container(0x3fffffff, ::getpid()) == 0);
}
