// SPDX-License-Identifier: GPL-2.0-or-later
// Thousands of sessions, each with one frame damaged after TLS. Nothing of it reaches restore(), and whatever becomes
// of the migration, exactly one side runs the container.
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <set>

#include "base/log.h"
#include "tests/migrate/corruption.h"
#include "tests/migrate/frame_damage.h"
#include "tests/migrate/session_world.h"

using namespace vmigrate;

namespace {

namespace fs = std::filesystem;
using Kind = FrameDamage::Kind;

/// Each session syncs its journals, and says why it failed.
[[maybe_unused]] const bool kIsPrepared = [] {
  if (::access("/dev/shm", W_OK) == 0) ::setenv("TMPDIR", "/dev/shm", 0);
  set_log_level(LogLevel::none);
  return true;
}();

constexpr std::uint64_t kFirstSeed = 1;
constexpr std::uint64_t kVariants = 8;

/// With and without lz4, and with --verify every now and then.
MigrationOptions options_of(std::uint64_t seed) {
  MigrationOptions options;
  if (seed % 2 == 1) options.compression = Compression::lz4;
  options.verifies = seed % kVariants >= 6;
  return options;
}

/// Every record of every journal in `directory`.
std::string records_in(const fs::path& directory) {
  std::string text;
  std::error_code no_directory;
  for (const auto& entry : fs::directory_iterator(directory, no_directory)) {
    std::ifstream in(entry.path(), std::ios::binary);
    const std::string content{std::istreambuf_iterator<char>(in), {}};
    for (const Record& record : load_slots(std::as_bytes(std::span(content)), entry.path().native()).records)
      text += entry.path().filename().string() + " " + std::string(name_of(record.type)) + " " +
              to_hex(record.migration) + " " + std::to_string(record.epoch) + " " + to_hex(record.image_root) + ", ";
  }
  return text;
}

constexpr std::size_t kFirst = 0;   ///< the connection that a session begins with
constexpr std::size_t kLane = 1;    ///< the one that carries its blocks

/// A session whose container has more memory than one byte over and over, and a look at what is restored.
class WatchedSession {
 public:
  explicit WatchedSession(std::uint64_t seed) : world(options_of(seed)) {
    world.departure->script().at_dump = [this] { write_pages(); };
    world.arrivals.script().at_restore = [this] { look_at_what_is_restored(); };
  }

  /// What happens on link kFirst, and on link kLane.
  void run_with(std::size_t link, MemoryLink::Transit transit) {
    set_transit(link, std::move(transit));
    world.migrate();
  }
  void set_transit(std::size_t link, MemoryLink::Transit transit) {
    if (link == kFirst) world.link->in_transit(std::move(transit));
    else world.at_lane = [transit = std::move(transit)](const auto& lane) { lane->in_transit(transit); };
  }

  fs::path pages() const { return world.directory.path() / "source" / "checkpoint" / "pages-2.img"; }
  /// One file of the checkpoint as it has arrived.
  fs::path arrived_file(std::mt19937_64& random) const {
    const fs::path arrived = world.directory.path() / "destination" / "checkpoint";
    const std::set<fs::path> files{fs::directory_iterator(arrived), {}};
    return *std::next(files.begin(), static_cast<std::ptrdiff_t>(random() % files.size()));
  }
  int restores() const { return restores_; }

  /// What anybody could tell afterwards, on either side.
  std::string account() {
    return std::string(name_of(world.report.outcome)) +
           "\n  source's records: " + records_in(world.directory.path() / "source" / "journal") +
           "\n  destination's records: " + records_in(world.arrivals.journals()) +
           "\n  offer as it arrived: " + to_json(world.outcome.offer) + "\n  kept: " + world.report.kept_image +
           ", " + to_hex(world.report.image_digest.value_or(Bits128{}));
  }

  /// What must never be, whatever was damaged; empty if nothing of it is.
  std::string broken_rule() const {
    if (world.source_runs() == world.destination_runs()) return "not exactly one side runs it";
    if (restores_ > 1 || !is_restored_as_sent_) return "something else was restored than was sent";
    if (!world.source_runs()) return {};
    if (world.report.outcome != Outcome::aborted || !world.report.failure) return "it runs here, but no report says so";
    if (world.arrivals.is_prepared() || world.arrivals.container() != FakeArrivalHost::Container::none)
      return "the destination kept something of it";
    return {};
  }

  SessionWorld world;

 private:
  void write_pages() const {
    std::ofstream out(pages(), std::ios::binary);
    for (char page = 'a'; page < 'u'; ++page) out << std::string(4096, page);
  }

  bool is_copy_equal() {
    const auto ours = world.volume.content();
    return std::memcmp(ours.data(), world.arrivals.sink().content().data(), ours.size()) == 0;
  }

  void look_at_what_is_restored() {
    ++restores_;
    const auto sent = world.departure->checkpoint().list();
    const auto arrived = ImageDir::adopt(world.directory.path() / "destination" / "checkpoint", 8 << 20).list();
    is_restored_as_sent_ = is_restored_as_sent_ && sent == arrived && is_copy_equal();
  }

  int restores_ = 0;
  bool is_restored_as_sent_ = true;
};

/// What a session without damage comes to.
struct GoodSession {
  explicit GoodSession(std::uint64_t variant) {
    WatchedSession session(variant);
    for (const std::size_t link : {kFirst, kLane}) session.set_transit(link, counter(messages[link]));
    session.world.migrate();
    REQUIRE(session.world.destination_runs());
    REQUIRE(session.restores() == 1);
    account = session.account();
  }

  static MemoryLink::Transit counter(FrameDamage::Counts& counts) {
    return [&counts](std::size_t side, MemoryLink::Frame frame) {
      ++counts[side];
      std::vector<MemoryLink::Frame> arriving;
      arriving.push_back(std::move(frame));
      return arriving;
    };
  }

  std::array<FrameDamage::Counts, 2> messages{};
  std::string account;
};

/// The connection that was hit; of the lane also, in which direction.
enum class Way { first, lane_there, lane_back };

/// Damage that may leave no trace, and why. Any other has to end the migration.
struct Harmless {
  Way way;
  std::set<std::string> victims;
  std::set<Kind> kinds;   ///< empty: any
  const char* why;
};
const std::vector<Harmless> kHarmless = {
    {Way::lane_there, {"BlockData", "BlockZeroes"}, {Kind::repeated}, "the same bytes at the same place, twice"},
    {Way::lane_there, {"BlockData", "BlockZeroes"}, {Kind::swapped}, "different places, in another order"},
    {Way::lane_there,
     {"BlockData"},
     {Kind::payload_bit, Kind::payload_bytes},
     "lz4 came to the same bytes by another way"},
    {Way::lane_there,
     {"RoundEnd"},
     {Kind::payload_bit, Kind::payload_bytes},
     "the kind and the digest of a round: the first connection's count"},
    {Way::lane_back, {"Join"}, {Kind::repeated}, "whoever sends blocks listens to nothing more there"},
    {Way::first, {"ImageChunk"}, {Kind::repeated}, "the same bytes at the same place, twice"},
    {Way::first, {"ImageChunk"}, {Kind::swapped}, "different places, in another order"},
    {Way::first, {"Accept"}, {Kind::payload_bit, Kind::payload_bytes}, "a word for people, about the destination"},
    {Way::first, {"RoundEnd"}, {Kind::payload_bit}, "which kind of round it was, where a round of --verify followed"},
    {Way::first, {"Manifest", "Ready"}, {Kind::repeated}, "both sides ask each other, and go on"},
    {Way::first, {"Go", "Running"}, {}, "both sides ask each other, and go on"},
    {Way::first, {"Done"}, {}, "it only spares a question"},
};

Way way_of(const FrameDamage& damage) {
  if (damage.link() == kFirst) return Way::first;
  return damage.side() == 0 ? Way::lane_there : Way::lane_back;
}

const char* why_harmless(const FrameDamage& damage) {
  for (const Harmless& one : kHarmless)
    if (one.way == way_of(damage) && one.victims.contains(damage.victim()) &&
        (one.kinds.empty() || one.kinds.contains(damage.kind())))
      return one.why;
  return nullptr;
}

/// Refused because of its digest, before anything was restored.
bool is_refused(WatchedSession& session) {
  return session.broken_rule().empty() && session.world.source_runs() && session.restores() == 0 &&
         session.world.failure() == Errc::digest_mismatch;
}

/// Counts, and keeps the first few that must not be.
class Tally {
 public:
  void add(std::uint64_t seed, const FrameDamage& damage, WatchedSession& session, const std::string& good_account) {
    ++all_[damage.name()];
    const std::string fault = judge(damage, session, good_account);
    if (!fault.empty() && ++faults_ <= 5)
      faulty_ += "\nseed " + std::to_string(seed) + ", " + damage.description() + ": " + fault;
  }

  std::size_t faults() const { return faults_; }
  const std::string& faulty() const { return faulty_; }
  void print() const {
    for (const auto& [kind, count] : all_) std::cout << "  " << count << " times " << kind << "\n";
    std::cout << "  " << refused_ << " ended with the container running on the source\n";
    for (const auto& [why, count] : harmless_) std::cout << "  " << count << " changed nothing: " << why << "\n";
    std::cout << "  in " << asked_ << " of all these the two sides had to ask each other\n";
  }

 private:
  std::string judge(const FrameDamage& damage, WatchedSession& session, const std::string& good_account) {
    if (session.world.asks + session.world.asks_of_destination > 0) ++asked_;
    const std::string broken = session.broken_rule();
    if (!broken.empty()) return broken + session.world.story.text();
    if (session.world.source_runs()) return ++refused_, std::string();
    const std::string account = session.account();
    if (account != good_account) return "nobody noticed: " + account;
    const char* const why = why_harmless(damage);
    if (why == nullptr) return "it changed nothing, and nobody knows why";
    ++harmless_[why];
    return {};
  }

  std::map<std::string, int> all_;
  std::map<std::string, int> harmless_;
  int refused_ = 0;
  int asked_ = 0;
  std::size_t faults_ = 0;
  std::string faulty_;
};

}  // namespace

TEST_CASE("a frame damaged after TLS ends the migration, or changes nothing; exactly one side runs the container",
          "[migrate][corruption]") {
  std::vector<GoodSession> good;
  for (std::uint64_t variant = 0; variant < kVariants; ++variant) good.emplace_back(variant);
  Tally tally;
  std::uint64_t damaged = 0;
  std::uint64_t seed = kFirstSeed;
  for (; damaged < corruption::kSessions; ++seed) {
    const GoodSession& expected = good[seed % kVariants];
    WatchedSession session(seed);
    FrameDamage damage(seed, expected.messages);
    session.run_with(damage.link(), std::ref(damage));
    if (!damage.has_changed_something()) continue;
    ++damaged;
    tally.add(seed, damage, session, expected.account);
  }
  std::cout << damaged << " sessions with one damaged frame each, seeds " << kFirstSeed << " to " << seed - 1 << ":\n";
  tally.print();
  INFO(tally.faulty());
  CHECK(tally.faults() == 0);
}

TEST_CASE("a checkpoint that changes while it is sent is not restored", "[migrate][corruption]") {
  for (std::uint64_t seed = kFirstSeed; seed <= corruption::kSessions / 50; ++seed) {
    INFO("seed " << seed);
    WatchedSession session(seed);
    std::mt19937_64 random(seed);
    bool is_changed = false;
    session.world.to_destination->before_send([&](Message& message) {
      // The first chunk is of another file: that one is digested, but not read yet.
      if (std::holds_alternative<ImageChunk>(message) && !std::exchange(is_changed, true))
        corruption::damage_file(session.pages(), random);
      return WatchedChannel::Fate::arrives;
    });
    session.world.migrate();
    REQUIRE(is_changed);
    CHECK(is_refused(session));
  }
}

TEST_CASE("a checkpoint that changes on the destination before it is verified is not restored",
          "[migrate][corruption]") {
  constexpr std::uint64_t kLastSeed = corruption::kSessions / 10;
  std::uint64_t refused = 0;
  for (std::uint64_t seed = kFirstSeed; seed <= kLastSeed; ++seed) {
    INFO("seed " << seed);
    WatchedSession session(seed);
    std::mt19937_64 random(seed);
    session.world.to_source->before_handling([&](const Message& message) {
      if (std::holds_alternative<Manifest>(message)) corruption::damage_file(session.arrived_file(random), random);
    });
    session.world.migrate();
    const bool is_one_more = is_refused(session);
    CHECK(is_one_more);
    if (is_one_more) ++refused;
  }
  std::cout << kLastSeed << " sessions with one damaged file on the destination, seeds " << kFirstSeed << " to "
            << kLastSeed << ": " << refused << " refused before restore was called\n";
}
