// SPDX-License-Identifier: GPL-2.0-or-later
// Checkpoint files and Manifests, as a source could send them, against a model in memory. The input is a list of
// steps, each a letter, a u16 length and that many bytes:
//   'c'  the payload of an ImageChunk, which is stored
//   'm'  the payload of a Manifest: it must verify if, and only if, it says what is there
//   'v'  the right Manifest, which must verify
//   'd'  the same with one entry damaged, as the bytes say; it must not
#include <unistd.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include <xxhash.h>

#include "base/bytes.h"
#include "checkpoint/image_dir.h"
#include "tests/fuzz/fuzz_targets.h"
#include "tests/support/temporary_directory.h"
#include "transport/message.h"

namespace vmigrate::fuzz {
namespace {

constexpr std::uint64_t kImageBytesMax = 16 << 10;
constexpr std::size_t kStepsMax = 16;

/// Decodes as a T; nothing if it is none.
template <typename T>
std::optional<T> decoded(Bytes payload) {
  const std::uint8_t type = type_of(Message(T{}));
  const auto message = accepted({Errc::protocol_violation}, [&] { return decode(type, payload); });
  if (!message) return std::nullopt;
  return std::get<T>(*message);
}

class ImageUnderTest {
 public:
  explicit ImageUnderTest(const std::filesystem::path& directory)
      : directory_(directory), image_(ImageDir::adopt(directory, kImageBytesMax)) {}
  ImageUnderTest(const ImageUnderTest&) = delete;
  ~ImageUnderTest() {
    for (const auto& [name, content] : model_) ::unlink((directory_ / name).c_str());
  }

  void store(const ImageChunk& chunk) {
    const auto write = [&] { return image_.write(chunk.name, chunk.offset, chunk.bytes), true; };
    if (!accepted({Errc::protocol_violation}, write)) return;
    auto& content = model_[chunk.name];
    if (chunk.bytes.empty()) return;  // makes the file, and no longer
    content.resize(std::max<std::size_t>(content.size(), chunk.offset + chunk.bytes.size()));
    std::ranges::copy(chunk.bytes, content.begin() + static_cast<std::ptrdiff_t>(chunk.offset));
    check_bounds();
  }

  void verify(const std::vector<ImageFile>& manifest) {
    const auto check = [&] { return image_.verify(manifest), true; };
    const bool is_verified = accepted({Errc::digest_mismatch}, check).has_value();
    MIGRATE_ASSERT(is_verified == (manifest == right_manifest()));
  }

  void verify_damaged(Bytes how) {
    auto manifest = right_manifest();
    if (manifest.empty() || how.size() < 2) return;
    ImageFile& file = manifest[std::to_integer<std::size_t>(how[0]) % manifest.size()];
    const unsigned bit = std::to_integer<unsigned>(how[1]) % 64;
    switch (std::to_integer<unsigned>(how[1]) / 64) {
      case 0: file.digest.low ^= 1ULL << bit; break;
      case 1: file.digest.high ^= 1ULL << bit; break;
      case 2: file.bytes ^= 1ULL << bit; break;
      default: file.name += "x"; break;
    }
    verify(manifest);
  }

  std::vector<ImageFile> right_manifest() const {
    std::vector<ImageFile> files;
    for (const auto& [name, content] : model_) {
      const XXH128_hash_t digest = XXH3_128bits(content.data(), content.size());
      files.push_back({name, content.size(), {.low = digest.low64, .high = digest.high64}});
    }
    return files;
  }

 private:
  void check_bounds() const {
    std::uint64_t bytes = 0;
    for (const auto& [name, content] : model_) {
      MIGRATE_ASSERT(!name.empty() && name.find('/') == std::string::npos && name[0] != '.');
      MIGRATE_ASSERT(!name.ends_with(".log") && !name.starts_with("stats-"));
      bytes += content.size();
    }
    MIGRATE_ASSERT(bytes <= kImageBytesMax);
  }

  std::filesystem::path directory_;
  ImageDir image_;
  std::map<std::string, std::vector<std::byte>> model_;
};

void take(ImageUnderTest& image, char step, Bytes payload) {
  if (step == 'c') {
    if (const auto chunk = decoded<ImageChunk>(payload)) image.store(*chunk);
  } else if (step == 'm') {
    const auto manifest = decoded<Manifest>(payload);
    if (!manifest) return;
    std::vector<ImageFile> files;
    for (const auto& entry : manifest->files) files.push_back({entry.name, entry.bytes, entry.digest});
    image.verify(files);
  } else if (step == 'v') {
    image.verify(image.right_manifest());
  } else if (step == 'd') {
    image.verify_damaged(payload);
  }
}

}  // namespace

void image(Bytes input) {
  static const TestDirectory directory;
  ImageUnderTest image(directory.path());
  ByteReader reader(input);
  const auto next_step = [&] {
    const auto step = static_cast<char>(reader.u8());
    const Bytes payload = reader.take(reader.u16());
    return take(image, step, payload), true;
  };
  for (std::size_t steps = 0; steps < kStepsMax && accepted({Errc::protocol_violation}, next_step); ++steps) continue;
}

}  // namespace vmigrate::fuzz
