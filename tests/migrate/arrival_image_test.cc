// SPDX-License-Identifier: GPL-2.0-or-later
// The arriving image: what it begins with, what is kept of it, and that a crash between any two steps loses nothing and
// leaves nothing that nobody knows of.
#include "migrate/arrival_image.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "base/error.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/unique_fd.h"
#include "tests/catch.h"
#include "tests/support/run_task.h"
#include "tests/support/temporary_directory.h"

using namespace vmigrate;
namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kVolumeBytes = kBaseBytesMin + (1 << 20);
constexpr char kMark = 'x';

/// The agent dies here. No std::exception: nothing in between may handle it.
struct Crash {};

/// While it lives, the agent dies at the point of this name.
class CrashAt {
 public:
  explicit CrashAt(const std::string& point) {
    set_failpoint_handler([point](std::string_view name) {
      if (name == point) throw Crash();
    });
  }
  CrashAt(const CrashAt&) = delete;
  ~CrashAt() { set_failpoint_handler({}); }
};

const std::vector<std::string> kTakingPoints = {"arrival.base.after_note", "arrival.base.after_rename",
                                                "arrival.base.after_forget"};
const std::vector<std::string> kKeepingPoints = {"arrival.partial.after_note", "arrival.partial.after_rename",
                                                 "arrival.partial.after_all"};

void fill(const fs::path& file, std::uint64_t allocated) {
  const UniqueFd fd(check_syscall(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600), "open", file.native()));
  check_syscall(::ftruncate(fd.get(), static_cast<off_t>(kVolumeBytes)), "ftruncate", file.native());
  if (::posix_fallocate(fd.get(), 0, static_cast<off_t>(allocated)) != 0) throw Error(Errc::disk_full, "no room");
  check_syscall(::pwrite(fd.get(), &kMark, 1, 5), "pwrite", file.native());
}

char mark_in(const fs::path& file) {
  char mark = 0;
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  return fd.is_open() && ::pread(fd.get(), &mark, 1, 5) == 1 ? mark : '\0';
}

struct World {
  World() { waybill = new_waybill(); }

  Waybill new_waybill() {
    return {.side = Side::destination,
            .migration = {++migrations, 0},
            .peer = "alpha",
            .offer = {.container = "ct", .runtime = "runc", .config = "{}", .file_system = "ext4",
                      .volume_bytes = kVolumeBytes}};
  }
  /// As an earlier migration away from here left it.
  KeptCopy keep_migrated_copy() {
    KeptCopy copy{.container = "ct", .migration = {77, 0}, .image = images / "ct.img.migrated-77"};
    copy.bundle = state.root() / "containers" / "ct.migrated-77";
    copy.until = 4'000'000'000;
    fs::create_directories(copy.bundle / "rootfs");
    fill(copy.image, kBaseBytesMin);
    state.kept_copies().write(copy);
    return copy;
  }
  /// Begins an arrival. False if the agent died over it.
  bool arrive() {
    try {
      image.emplace(state, waybill);
      image->begin();
      sink = image->make(pool);
      return true;
    } catch (const Crash&) {
      return false;
    }
  }
  bool leave(Leftovers leftovers) {
    try {
      sink.reset();
      image->leave(leftovers);
      state.waybills().remove("ct");
      return true;
    } catch (const Crash&) {
      return false;
    }
  }
  /// The next agent, as Recovery has it.
  void recover(Leftovers leftovers = Leftovers::partial_copy) {
    sink.reset();
    for (Waybill& found : state.waybills().list()) {
      ArrivalImage adopted(state, found);
      adopted.adopt();
      adopted.leave(leftovers);
      state.waybills().remove("ct");
    }
  }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(images)) names.push_back(entry.path().filename().native());
    std::ranges::sort(names);
    return names;
  }
  /// Every file has a note, every note a file, and the one that there is has what came before.
  void check_one_copy_is_kept() const {
    const auto copies = state.kept_copies().list();
    REQUIRE(copies.size() == 1);
    CHECK(files() == std::vector<std::string>{copies[0].image.filename().native()});
    CHECK(mark_in(copies[0].image) == kMark);
    CHECK(ArrivalImage::find_base(state, waybill.offer).has_value());
  }
  void check_nothing_is_left() const {
    CHECK(files().empty());
    CHECK(state.kept_copies().list().empty());
  }

  TestDirectory directory;
  StateDir state{directory.path()};
  fs::path images = directory.path() / "images";
  std::uint64_t migrations = 0;
  Waybill waybill;
  asio::thread_pool pool{1};
  std::optional<ArrivalImage> image;
  std::unique_ptr<BlockSink> sink;
};

[[maybe_unused]] const bool kIsQuiet = (set_log_level(LogLevel::error), true);

}  // namespace

TEST_CASE("without an earlier copy the image is new, and nothing of it stays", "[migrate][arrival]") {
  World world;
  REQUIRE(world.arrive());
  CHECK(world.image->base(world.pool) == nullptr);
  CHECK(world.files() == std::vector<std::string>{"ct.img"});
  SECTION("when it is cancelled") { world.leave(Leftovers::base); }
  SECTION("when it is cut off before much has arrived") { world.leave(Leftovers::partial_copy); }
  SECTION("when its agent dies before much has arrived") { world.recover(); }
  world.check_nothing_is_left();
}

TEST_CASE("a file that came into the way meanwhile is not replaced by an earlier copy", "[migrate][arrival]") {
  World world;
  world.keep_migrated_copy();
  std::ofstream(world.images / "ct.img") << "not yours";
  CHECK_THROWS_AS(world.arrive(), Error);
  world.leave(Leftovers::base);
  CHECK(fs::file_size(world.images / "ct.img") == 9);
  CHECK(world.state.kept_copies().list().size() == 1);
  CHECK(world.files() == std::vector<std::string>{"ct.img", "ct.img.migrated-77"});
}

TEST_CASE("an earlier copy becomes the image, with its content; its note and its bundle go", "[migrate][arrival]") {
  World world;
  const KeptCopy copy = world.keep_migrated_copy();
  REQUIRE(world.arrive());
  CHECK(world.image->base(world.pool) != nullptr);
  CHECK(world.files() == std::vector<std::string>{"ct.img"});
  CHECK(mark_in(world.image->path()) == kMark);
  CHECK(world.state.kept_copies().list().empty());
  CHECK_FALSE(fs::exists(copy.bundle));
}

TEST_CASE("an offer that does not want to begin with an earlier copy leaves it alone", "[migrate][arrival]") {
  World world;
  world.keep_migrated_copy();
  world.waybill.offer.options.resumes = false;
  REQUIRE(world.arrive());
  CHECK(world.image->base(world.pool) == nullptr);
  CHECK(world.files() == std::vector<std::string>{"ct.img", "ct.img.migrated-77"});
  world.leave(Leftovers::partial_copy);
  world.waybill.offer.options.resumes = true;
  world.check_one_copy_is_kept();
}

TEST_CASE("what was cut off is kept, noted as partial, and the next attempt begins with it", "[migrate][arrival]") {
  World world;
  REQUIRE(world.arrive());
  fill(world.image->path(), kBaseBytesMin);
  REQUIRE(world.leave(Leftovers::partial_copy));
  world.check_one_copy_is_kept();
  CHECK(world.state.kept_copies().list()[0].is_partial);
  world.waybill = world.new_waybill();
  REQUIRE(world.arrive());
  CHECK(mark_in(world.image->path()) == kMark);
  REQUIRE(world.leave(Leftovers::base));   // cut short again, even if it is cancelled: it began with one
  world.check_one_copy_is_kept();
}

TEST_CASE("only the newest partial copy is kept, and no other kind of copy goes for it", "[migrate][arrival]") {
  World world;
  for (int attempt = 0; attempt < 3; ++attempt) {
    world.waybill = world.new_waybill();
    world.waybill.offer.options.resumes = false;
    REQUIRE(world.arrive());
    fill(world.image->path(), kBaseBytesMin);
    REQUIRE(world.leave(Leftovers::partial_copy));
  }
  world.keep_migrated_copy();
  CHECK(world.state.kept_copies().list().size() == 2);
  world.waybill = world.new_waybill();
  world.waybill.offer.options.resumes = false;
  REQUIRE(world.arrive());
  fill(world.image->path(), kBaseBytesMin);
  REQUIRE(world.leave(Leftovers::partial_copy));
  CHECK(world.state.kept_copies().list().size() == 2);
  CHECK(world.files().size() == 2);
}

TEST_CASE("nothing is kept that may not be", "[migrate][arrival]") {
  World world;
  Leftovers leftovers = Leftovers::partial_copy;
  SECTION("a copy that is wrong, even if it began with an earlier one") {
    world.keep_migrated_copy();
    leftovers = Leftovers::nothing;
  }
  SECTION("where keeping is not wanted") { world.waybill.offer.options.keep_source = std::chrono::seconds(0); }
  SECTION("of a new image that was cancelled") { leftovers = Leftovers::base; }
  REQUIRE(world.arrive());
  fill(world.image->path(), kBaseBytesMin);
  REQUIRE(world.leave(leftovers));
  world.check_nothing_is_left();
}

TEST_CASE("an agent that dies while it takes an earlier copy loses none of it", "[migrate][arrival]") {
  for (const std::string& point : kTakingPoints)
    for (const Leftovers leftovers : {Leftovers::base, Leftovers::partial_copy}) {
      INFO(point);
      World world;
      world.keep_migrated_copy();
      {
        const CrashAt crash(point);
        REQUIRE_FALSE(world.arrive());
      }
      world.recover(leftovers);
      world.check_one_copy_is_kept();
    }
}

TEST_CASE("a human who discards what a dead agent left leaves no partial copy that was new", "[migrate][arrival]") {
  for (const std::string& point : kKeepingPoints) {
    INFO(point);
    World world;
    REQUIRE(world.arrive());
    fill(world.image->path(), kBaseBytesMin);
    {
      const CrashAt crash(point);
      REQUIRE_FALSE(world.leave(Leftovers::partial_copy));
    }
    world.recover(Leftovers::base);
    world.check_nothing_is_left();
  }
}

TEST_CASE("an agent that dies while it keeps what has arrived keeps it the next time", "[migrate][arrival]") {
  for (const bool has_base : {false, true})
    for (const std::string& point : kKeepingPoints) {
      INFO(point << (has_base ? " of what began with an earlier copy" : " of a new image"));
      World world;
      if (has_base) world.keep_migrated_copy();
      REQUIRE(world.arrive());
      if (!has_base) fill(world.image->path(), kBaseBytesMin);
      {
        const CrashAt crash(point);
        REQUIRE_FALSE(world.leave(Leftovers::partial_copy));
      }
      world.recover();
      world.check_one_copy_is_kept();
      CHECK(world.state.waybills().list().empty());
    }
}

TEST_CASE("an earlier copy that goes at the last moment is no loss: the image is a new one", "[migrate][arrival]") {
  World world;
  const KeptCopy copy = world.keep_migrated_copy();
  world.image.emplace(world.state, world.waybill);
  world.image->begin();
  world.state.kept_copies().remove(copy);
  world.sink = world.image->make(world.pool);
  CHECK(world.image->base(world.pool) == nullptr);
  REQUIRE(world.state.waybills().list().size() == 1);
  CHECK_FALSE(world.state.waybills().list()[0].base);
  world.recover(Leftovers::base);
  world.check_nothing_is_left();
}
