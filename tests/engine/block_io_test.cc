// SPDX-License-Identifier: GPL-2.0-or-later
// The fake keeps the promises that the real file keeps.
#include <boost/asio/thread_pool.hpp>

#include "engine/device_volume.h"
#include "tests/contract/block_io_contract.h"
#include "tests/support/memory_volume.h"
#include "tests/support/temporary_directory.h"

using namespace vmigrate;

namespace {

/// The sink is a source too: what a MemorySink holds, read through a MemoryVolume of the same bytes.
class MemoryRig final : public BlockIoRig {
 public:
  explicit MemoryRig(VolumeGeometry geometry) : volume_(geometry.bytes), sink_(volume_) {}
  BlockSink& sink() override { return sink_; }
  BlockSource& source() override { return volume_; }

 private:
  class Sink final : public BlockSink {
   public:
    explicit Sink(MemoryVolume& volume) : volume_(volume) {}
    Task<> write(Extent extent, std::span<const std::byte> blocks) override {
      volume_.write_bytes(extent, blocks);
      co_return;
    }
    Task<> write_zeroes(Extent extent) override {
      volume_.discard(extent);
      co_return;
    }
    Task<> flush() override { co_return; }

   private:
    MemoryVolume& volume_;
  };
  MemoryVolume volume_;
  Sink sink_;
};

class FileRig final : public BlockIoRig {
 public:
  explicit FileRig(VolumeGeometry geometry)
      : path_(directory_.path() / "image"), sink_(create_image_sink(pool_, path_, geometry, geometry.bytes)) {}
  ~FileRig() override { pool_.join(); }
  BlockSink& sink() override { return *sink_; }
  BlockSource& source() override {
    source_ = open_source(pool_, path_);
    return *source_;
  }

 private:
  TestDirectory directory_;
  std::filesystem::path path_;
  asio::thread_pool pool_{1};
  std::unique_ptr<BlockSink> sink_;
  std::unique_ptr<BlockSource> source_;
};

template <typename Rig>
std::unique_ptr<BlockIoRig> make_rig(VolumeGeometry geometry) {
  return std::make_unique<Rig>(geometry);
}

}  // namespace

TEST_CASE("the volume in memory keeps the block contract", "[engine]") { check_block_io_contract(make_rig<MemoryRig>); }

TEST_CASE("an image file keeps the block contract", "[engine]") { check_block_io_contract(make_rig<FileRig>); }
