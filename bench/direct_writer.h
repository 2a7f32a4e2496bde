// SPDX-License-Identifier: GPL-2.0-or-later
// Writes single blocks through a device node, past its page cache.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <new>
#include <random>

#include "base/error.h"
#include "base/unique_fd.h"
#include "engine/block.h"

namespace vmigrate {

/// For one thread. What it writes does not compress, and no block is ever what was there before.
class DirectWriter {
 public:
  DirectWriter(const std::filesystem::path& node, std::uint64_t seed)
      : fd_(check_syscall(::open(node.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC), "open", node.string())),
        block_(static_cast<std::uint64_t*>(std::aligned_alloc(kBlockBytes, kBlockBytes))) {
    if (!block_) throw std::bad_alloc();
    std::mt19937_64 random(seed);
    for (std::size_t word = 0; word < kBlockBytes / sizeof(std::uint64_t); ++word) block_[word] = random();
  }

  /// The device has the block when this returns.
  void write(BlockIndex index) {
    ++block_[0];
    const auto place = static_cast<off_t>(index.value * kBlockBytes);
    const auto put = check_syscall(::pwrite(fd_.get(), block_.get(), kBlockBytes, place), "pwrite");
    if (static_cast<std::uint32_t>(put) != kBlockBytes) throw Error(EIO, "pwrite", "short");
  }

 private:
  struct Free {
    void operator()(std::uint64_t* words) const { std::free(words); }
  };
  UniqueFd fd_;
  std::unique_ptr<std::uint64_t[], Free> block_;
};

}  // namespace vmigrate
