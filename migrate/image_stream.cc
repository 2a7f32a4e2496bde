// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/image_stream.h"

#include <memory>
#include <vector>

namespace vmigrate {

Task<std::uint64_t> send_image(asio::thread_pool& pool, const ImageDir& image, Channel& channel, Pacer& pacer) {
  // A gigabyte of checkpoint takes a second to digest: not on the event loop.
  const std::vector<ImageFile> files = co_await offload(pool, [&image] { return image.list(); });
  const auto memory = std::make_unique_for_overwrite<std::byte[]>(kDataBytesMax);
  const std::span buffer(memory.get(), kDataBytesMax);
  Manifest manifest;
  std::uint64_t bytes = 0;
  for (const ImageFile& file : files) {
    manifest.files.push_back({file.name, file.bytes, file.digest});
    for (std::uint64_t offset = 0; offset < file.bytes || offset == 0;) {
      const std::size_t got = image.read(file.name, offset, buffer);
      const Message chunk = ImageChunk{file.name, offset, buffer.first(got)};
      const std::uint64_t before = channel.bytes_sent();
      co_await channel.send(chunk);
      channel.note_pause(co_await pacer.pass(channel.bytes_sent() - before));
      if (got == 0) break;
      offset += got;
    }
    bytes += file.bytes;
  }
  const Message end = std::move(manifest);
  co_await channel.send(end);
  co_return bytes;
}

Task<> store_chunk(asio::thread_pool& pool, const ImageChunk& chunk, ImageDir& image) {
  co_await offload(pool, [&chunk, &image] { image.write(chunk.name, chunk.offset, chunk.bytes); });
}

Task<> verify_image(asio::thread_pool& pool, const Manifest& manifest, const ImageDir& image) {
  std::vector<ImageFile> files;
  files.reserve(manifest.files.size());
  for (const ManifestEntry& entry : manifest.files) files.push_back({entry.name, entry.bytes, entry.digest});
  co_await offload(pool, [&files, &image] { image.verify(files); });
}

}  // namespace vmigrate
