// SPDX-License-Identifier: GPL-2.0-or-later
// With real containers, runc and crun, and a real CRIU.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <optional>
#include <thread>

#include "base/error.h"
#include "checkpoint/cgroup.h"
#include "checkpoint/cgroup_file.h"
#include "checkpoint/container_config.h"
#include "checkpoint/criu_checkpointer.h"
#include "tests/catch.h"
#include "tests/checkpoint/test_container.h"

using namespace vmigrate;
using namespace std::chrono_literals;

namespace {

std::string why_not() {
  if (::geteuid() != 0) return "needs root";
  try {
    for (const auto& argv : std::vector<std::vector<std::string>>{
             {"runc", "--version"}, {"crun", "checkpoint", "--help"}, {"ip", "-V"}, {"criu", "check"}})
      run_checked({.argv = argv}, Errc::criu_missing);
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}

/// Before Catch runs anything: ctest shows exit status 77 as "skipped".
const bool kCanRun = [] {
  const auto why = why_not();
  if (why.empty()) return true;
  std::printf("SKIPPED: %s\n", why.c_str());
  std::fflush(stdout);
  ::_exit(77);
}();

const std::string kRuntimes[] = {"runc", "crun"};

ImageDir make_images(const TestDirectory& directory, const std::string& name = "images") {
  return ImageDir::create(directory.path(), name, 64 << 20);
}

std::string mounts() {
  std::ifstream file("/proc/self/mountinfo");
  return {std::istreambuf_iterator<char>(file), {}};
}

struct World {
  asio::thread_pool pool{2};
  TestDirectory directory;
};

/// run_task() wants a result it could default-construct, which a FrozenContainer is not.
Task<std::unique_ptr<FrozenContainer>> freeze_task(ContainerRuntime& runtime, ContainerInfo info) {
  FrozenContainer frozen = co_await FrozenContainer::freeze(runtime, std::move(info));
  co_return std::make_unique<FrozenContainer>(std::move(frozen));
}

std::unique_ptr<FrozenContainer> freeze(TestContainer& container) {
  return run_task(freeze_task(container.runtime(), container.info()));
}

/// Dumps `container` and destroys it: what remains is its checkpoint.
ImageDir dump_and_destroy(World& world, TestContainer& container, Checkpointer& criu) {
  ImageDir images = make_images(world.directory);
  auto frozen = freeze(container);
  run_task(criu.dump(*frozen, images));
  FencedContainer fenced(std::move(*frozen));
  run_task(fenced.destroy_after_running());
  return images;
}

ContainerInfo placed(const TestContainer& container, const std::string& runtime) {
  return {.id = container.id(), .runtime = runtime, .bundle = container.bundle(), .rootfs = container.rootfs()};
}

void check_nothing_left(const TestContainer& container, const std::string& runtime) {
  CHECK_FALSE(Cgroup::at(container.cgroups_path()).has_value());
  CHECK_FALSE(std::filesystem::exists("/run/" + runtime + "/" + container.id()));
  CHECK(mounts().find(container.id()) == mounts().find("/run/netns/" + container.id()) + 11);
}

}  // namespace

TEST_CASE("a container stands still while frozen and goes on afterwards", "[checkpoint][root]") {
  World world;
  for (const auto& runtime : kRuntimes) {
    INFO(runtime);
    TestContainer container(world.pool, runtime);
    const auto info = container.info();
    CHECK(info.status == ContainerStatus::running);
    CHECK(info.rootfs == std::filesystem::canonical(container.rootfs()));
    CHECK(container.is_ticking());
    CHECK_FALSE(run_task(container.runtime().is_frozen(info)));
    auto frozen = freeze(container);
    CHECK(run_task(container.runtime().is_frozen(info)));
    CHECK_FALSE(container.is_ticking());
    CHECK(container.info().status == ContainerStatus::paused);
    run_task(frozen->thaw());
    CHECK(container.is_ticking());
    run_task(container.runtime().destroy(info));
    CHECK_NOTHROW(run_task(container.runtime().destroy(info)));
    CHECK_THROWS_AS(container.info(), Error);
    CHECK_FALSE(run_task(container.runtime().is_frozen(info)));
  }
}

TEST_CASE("a frozen container that is dropped runs again", "[checkpoint][root]") {
  World world;
  TestContainer container(world.pool, "runc");
  { const auto dropped = freeze(container); }
  CHECK(container.is_ticking());
}

TEST_CASE("a container is found by the runtime that made it", "[checkpoint][root]") {
  World world;
  const auto any = make_oci_runtime(world.pool, "auto");
  for (const auto& runtime : kRuntimes) {
    TestContainer container(world.pool, runtime);
    CHECK(run_task(any->inspect(container.id())).runtime == runtime);
  }
  try {
    run_task(any->inspect("no-such-container"));
    FAIL("found");
  } catch (const Error& error) {
    CHECK(error.code() == Errc::unknown_container);
  }
}

TEST_CASE("a container without its bundle is not taken for one without its runtime", "[checkpoint][root]") {
  World world;
  TestContainer container(world.pool, "runc");
  const auto any = make_oci_runtime(world.pool, "auto");
  std::filesystem::rename(container.bundle() / "config.json", container.bundle() / "elsewhere");
  CHECK_THROWS_WITH(run_task(any->inspect(container.id())),
                    "open " + (container.bundle() / "config.json").native() + ": No such file or directory");
  std::filesystem::rename(container.bundle() / "elsewhere", container.bundle() / "config.json");
}

TEST_CASE("a container's processes are found while others of its cgroups come and go", "[checkpoint][root]") {
  World world;
  TestContainer container(world.pool, "runc");
  const auto cgroup = Cgroup::of_container(container.info().init_pid);
  REQUIRE(cgroup.has_value());
  const auto home = cgroup->directory() / "home";   // among the others, in the order in which the kernel lists them
  std::filesystem::create_directory(home);
  write_to(home / "cgroup.procs", std::to_string(container.info().init_pid));
  const std::jthread others([&](std::stop_token ended) {
    while (!ended.stop_requested())
      for (const char* verb : {"mk", "rm"})
        for (char name = 'a'; name < 'l'; ++name) {
          const auto path = cgroup->directory() / std::string(1, name);
          *verb == 'm' ? ::mkdir(path.c_str(), 0755) : ::rmdir(path.c_str());
        }
  });
  for (int looks = 0; looks < 2000; ++looks) REQUIRE(cgroup->processes().size() == 1);
}

TEST_CASE("a dump leaves the container frozen, and it can go on", "[checkpoint][root]") {
  World world;
  for (const auto& runtime : kRuntimes) {
    INFO(runtime);
    TestContainer container(world.pool, runtime);
    const auto criu = make_criu_checkpointer(world.pool, container.runtime());
    const auto before = mounts();
    ImageDir images = make_images(world.directory);
    auto frozen = freeze(container);
    run_task(criu->dump(*frozen, images));
    CHECK(run_task(container.runtime().is_frozen(frozen->info())));
    CHECK_FALSE(container.is_ticking());
    const auto files = images.list();
    CHECK(files.size() > 5);
    for (const auto& file : files) CHECK_FALSE(file.name.ends_with(".log"));
    CHECK_NOTHROW(images.verify(files));
    run_task(frozen->thaw());
    CHECK(container.is_ticking());
    { const ImageDir gone = std::move(images); }
    CHECK(mounts() == before);
  }
}

TEST_CASE("a restored container executes nothing until it is told to", "[checkpoint][root]") {
  World world;
  for (const auto& runtime : kRuntimes) {
    INFO(runtime);
    TestContainer container(world.pool, runtime);
    const auto criu = make_criu_checkpointer(world.pool, container.runtime());
    const ImageDir images = dump_and_destroy(world, container, *criu);
    const auto tick = container.ticks();
    auto restored = run_task(criu->restore(placed(container, runtime), images));
    CHECK(run_task(container.runtime().is_frozen(restored->info())));
    CHECK(container.ticks() == tick);
    CHECK_FALSE(container.is_ticking());
    run_task(restored->resume());
    CHECK(container.is_ticking());
    CHECK(container.ticks() > tick);
    CHECK(container.ticks() < tick + 5000);
  }
}

TEST_CASE("a stopped task is refused before the freeze or stays stopped after the restore", "[checkpoint][root]") {
  World world;
  for (const auto& runtime : kRuntimes) {
    INFO(runtime);
    TestContainer container(world.pool, runtime, "stopped");
    if (Cgroup::of_container(container.info().init_pid)->stopped_process() != 0) {
      CHECK_THROWS_AS(freeze(container), Error);
      CHECK(container.is_ticking());
      continue;
    }
    const auto criu = make_criu_checkpointer(world.pool, container.runtime());
    const ImageDir images = dump_and_destroy(world, container, *criu);
    auto restored = run_task(criu->restore(placed(container, runtime), images));
    run_task(restored->resume());
    CHECK(container.is_ticking());
    CHECK_FALSE(std::filesystem::exists(container.rootfs() / "continued"));
  }
}

TEST_CASE("a restored container that nobody resumes is taken away again", "[checkpoint][root]") {
  World world;
  for (const auto& runtime : kRuntimes) {
    INFO(runtime);
    TestContainer container(world.pool, runtime);
    const auto criu = make_criu_checkpointer(world.pool, container.runtime());
    const ImageDir images = dump_and_destroy(world, container, *criu);
    const auto tick = container.ticks();
    { const auto dropped = run_task(criu->restore(placed(container, runtime), images)); }
    CHECK(container.ticks() == tick);
    check_nothing_left(container, runtime);
    auto again = run_task(criu->restore(placed(container, runtime), images));
    run_task(again->resume());
    CHECK(container.is_ticking());
  }
}

TEST_CASE("a dump that fails says why and leaves the container frozen", "[checkpoint][root]") {
  World world;
  for (const auto& runtime : kRuntimes) {
    INFO(runtime);
    TestContainer container(world.pool, runtime, "uring");
    const auto criu = make_criu_checkpointer(world.pool, container.runtime());
    ImageDir images = make_images(world.directory);
    auto frozen = freeze(container);
    try {
      run_task(criu->dump(*frozen, images));
      FAIL("dumped");
    } catch (const Error& error) {
      CHECK(error.code() == Errc::checkpoint_failed);
      INFO(error.what());
      CHECK(std::string(error.what()).find("io_uring") != std::string::npos);
    }
    CHECK(run_task(container.runtime().is_frozen(frozen->info())));
    run_task(frozen->thaw());
    CHECK(container.is_ticking());
  }
}

TEST_CASE("a restore that fails leaves nothing behind and can be repeated", "[checkpoint][root]") {
  World world;
  for (const auto& runtime : kRuntimes) {
    INFO(runtime);
    TestContainer container(world.pool, runtime);
    const auto criu = make_criu_checkpointer(world.pool, container.runtime(), {.restore_timeout = 3s});
    const ImageDir images = dump_and_destroy(world, container, *criu);
    for (const auto* damaged : {"core-1.img", "pages-1.img"}) {
      INFO(damaged);
      const auto file = images.path() / damaged;
      const auto copy = world.directory.path() / damaged;
      std::filesystem::copy_file(file, copy, std::filesystem::copy_options::overwrite_existing);
      std::filesystem::resize_file(file, std::filesystem::file_size(file) / 2);
      try {
        run_task(criu->restore(placed(container, runtime), images));
        FAIL("restored");
      } catch (const Error& error) {
        CHECK(error.code() == Errc::restore_failed);
        UNSCOPED_INFO(error.what());
      }
      check_nothing_left(container, runtime);
      std::filesystem::copy_file(copy, file, std::filesystem::copy_options::overwrite_existing);
    }
    auto restored = run_task(criu->restore(placed(container, runtime), images));
    run_task(restored->resume());
    CHECK(container.is_ticking());
  }
}

TEST_CASE("a container that exists is not restored over", "[checkpoint][root]") {
  World world;
  TestContainer container(world.pool, "runc");
  const auto criu = make_criu_checkpointer(world.pool, container.runtime());
  const ImageDir images = make_images(world.directory);
  CHECK_THROWS_AS(run_task(criu->restore(placed(container, "runc"), images)), Error);
  CHECK(container.is_ticking());
}
