// SPDX-License-Identifier: GPL-2.0-or-later
// Thousands of damaged checkpoints and Manifests: none is taken for what was sent.
#include <algorithm>
#include <iostream>
#include <map>
#include <vector>

#include "migrate/image_stream.h"
#include "tests/catch.h"
#include "tests/migrate/corruption.h"
#include "tests/support/run_task.h"
#include "tests/support/temporary_directory.h"

using namespace vmigrate;

namespace {

constexpr std::uint64_t kImageBytesMax = 1 << 20;
const std::uint8_t kManifest = type_of(Message(Manifest{}));

/// A checkpoint that has arrived, and the Manifest that came with it.
class ArrivedCheckpoint {
 public:
  ArrivedCheckpoint() : image_(ImageDir::adopt(directory_.path(), kImageBytesMax)) {
    for (const auto& [name, content] : files_) corruption::put(directory_.path() / name, content);
    Manifest right;
    for (const ImageFile& file : image_.list()) right.files.push_back({file.name, file.bytes, file.digest});
    encode(right, manifest_);
  }

  /// As the destination does it: decode, then compare.
  bool is_verified(const std::vector<std::byte>& payload) {
    try {
      const Message message = decode(kManifest, payload);
      run_task(verify_image(pool_, std::get<Manifest>(message), image_));
      return true;
    } catch (const Error& refusal) {
      const Errc code = refusal.code_or(Errc::internal);
      if (code != Errc::digest_mismatch && code != Errc::protocol_violation) throw;
      return false;
    }
  }
  bool is_verified() { return is_verified(manifest_); }

  std::filesystem::path path(const std::string& name) const { return directory_.path() / name; }
  const std::vector<std::byte>& manifest() const { return manifest_; }
  const std::map<std::string, std::string>& files() const { return files_; }
  void mend() {
    for (const auto& [name, content] : files_) corruption::put(path(name), content);
    std::filesystem::remove(path("extra.img"));
  }

 private:
  TestDirectory directory_;
  std::map<std::string, std::string> files_ = {{"core-1.img", std::string(100, 'c')},
                                               {"core-2.img", std::string(100, 'd')},
                                               {"empty.img", ""},
                                               {"inventory.img", "CRIU"},
                                               {"pages-1.img", std::string(8192, '\0') + std::string(4096, 'p')}};
  ImageDir image_;
  std::vector<std::byte> manifest_;
  asio::thread_pool pool_{1};
};

std::string damage_files(ArrivedCheckpoint& checkpoint, std::mt19937_64& random) {
  const auto hit = std::next(checkpoint.files().begin(), static_cast<int>(random() % checkpoint.files().size()));
  const auto path = checkpoint.path(hit->first);
  switch (random() % 8) {
    case 0: std::filesystem::remove(path); return "a file is missing";
    case 1: corruption::put(checkpoint.path("extra.img"), hit->second); return "a file too many";
    case 2:
      std::filesystem::rename(checkpoint.path("core-1.img"), checkpoint.path("swap.img"));
      std::filesystem::rename(checkpoint.path("core-2.img"), checkpoint.path("core-1.img"));
      std::filesystem::rename(checkpoint.path("swap.img"), checkpoint.path("core-2.img"));
      return "two files swapped";
    default: corruption::damage_file(path, random); return "a file's content";
  }
}

std::string damage_manifest(std::vector<std::byte>& payload, std::mt19937_64& random) {
  std::string text(reinterpret_cast<const char*>(payload.data()), payload.size());
  corruption::damage(text, random);
  const auto bytes = std::as_bytes(std::span(text));
  payload.assign(bytes.begin(), bytes.end());
  return "the Manifest's bytes";
}

}  // namespace

TEST_CASE("no damage to a checkpoint's files or to its Manifest is taken for what was sent", "[migrate][corruption]") {
  ArrivedCheckpoint checkpoint;
  REQUIRE(checkpoint.is_verified());
  std::map<std::string, int> refused;
  std::string accepted;
  for (std::uint64_t seed = 1; seed <= corruption::kCheckpoints; ++seed) {
    std::mt19937_64 random(seed);
    auto manifest = checkpoint.manifest();
    const bool hits_manifest = seed % 2 == 0;
    const std::string what = hits_manifest ? damage_manifest(manifest, random) : damage_files(checkpoint, random);
    if (checkpoint.is_verified(manifest)) accepted += "\nseed " + std::to_string(seed) + ": " + what;
    else ++refused[what];
    if (!hits_manifest) checkpoint.mend();
  }
  std::cout << "Of " << corruption::kCheckpoints << " damaged checkpoints, seeds 1 to " << corruption::kCheckpoints
            << ", were refused:\n";
  for (const auto& [what, count] : refused) std::cout << "  " << count << " times " << what << "\n";
  INFO(accepted);
  CHECK(accepted.empty());
  CHECK(checkpoint.is_verified());
}
