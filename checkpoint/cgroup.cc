// SPDX-License-Identifier: GPL-2.0-or-later
#include "checkpoint/cgroup.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <future>
#include <sstream>
#include <thread>

#include "base/error.h"
#include "base/text_file.h"
#include "base/unique_fd.h"
#include "checkpoint/cgroup_file.h"

namespace vmigrate {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using std::chrono::steady_clock;

// A v1 freezer can miss a task that is being forked and then stays FREEZING; thawing for a moment lets it finish.
constexpr auto kFreezerStuck = 500ms;
constexpr auto kPollStep = 200us;

/// Where one hierarchy is mounted, and which cgroup of it stands there.
struct Hierarchy {
  Cgroup::Version version;
  fs::path mount_point;
  std::string root;
  std::string options;   ///< of a v1 hierarchy: its controllers
};

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream stream(line);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

bool contains_word(const std::string& list, std::string_view wanted) {
  std::istringstream stream(list);
  for (std::string word; std::getline(stream, word, ',');)
    if (word == wanted) return true;
  return false;
}

std::vector<Hierarchy> mounted_hierarchies() {
  std::ifstream mountinfo("/proc/self/mountinfo");
  std::vector<Hierarchy> found;
  for (std::string line; std::getline(mountinfo, line);) {
    const auto words = words_of(line);
    const auto dash = std::find(words.begin(), words.end(), "-");
    if (words.size() < 6 || words.end() - dash < 4) continue;
    if (dash[1] == "cgroup") found.push_back({Cgroup::Version::v1, words[4], words[3], dash[3]});
    if (dash[1] == "cgroup2") found.push_back({Cgroup::Version::v2, words[4], words[3], {}});
  }
  return found;
}

/// A v1 controller wins: where it is mounted, the runtimes use it.
std::optional<Hierarchy> hierarchy_of(std::string_view controller) {
  const auto all = mounted_hierarchies();
  const auto is_v1 = [&](const Hierarchy& one) { return contains_word(one.options, controller); };
  const auto is_v2 = [](const Hierarchy& one) { return one.version == Cgroup::Version::v2; };
  auto chosen = std::find_if(all.begin(), all.end(), is_v1);
  if (chosen == all.end()) chosen = std::find_if(all.begin(), all.end(), is_v2);
  if (chosen == all.end()) return std::nullopt;
  return *chosen;
}

Hierarchy freezing_hierarchy() {
  const auto found = hierarchy_of("freezer");
  if (!found) throw Error(Errc::incompatible_host, "no cgroup hierarchy with a freezer is mounted on this host");
  return *found;
}

/// The path within `hierarchy` in the text of a /proc/PID/cgroup; empty if it is not there.
std::string path_in(const Hierarchy& hierarchy, const std::string& proc_cgroup) {
  std::istringstream lines(proc_cgroup);
  for (std::string line; std::getline(lines, line);) {
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const auto controllers = line.substr(first + 1, second - first - 1);
    const auto one_of_them = controllers.substr(0, controllers.find(','));
    const bool is_ours = hierarchy.version == Cgroup::Version::v1 ? contains_word(hierarchy.options, one_of_them)
                                                                  : controllers.empty();
    if (is_ours) return line.substr(second + 1);
  }
  return {};
}

/// Empty if there is no such process.
std::string path_of(const Hierarchy& hierarchy, pid_t pid) {
  return path_in(hierarchy, read_text("/proc/" + std::to_string(pid) + "/cgroup").value_or(""));
}

/// The same as path_of(), seen from inside the cgroup namespace of `pid`; empty if it shares ours.
std::string path_within_namespace(const Hierarchy& hierarchy, pid_t pid) {
  const auto link = "/proc/" + std::to_string(pid) + "/ns/cgroup";
  std::error_code ignored;
  if (fs::read_symlink(link, ignored) == fs::read_symlink("/proc/self/ns/cgroup", ignored)) return {};
  const UniqueFd theirs(::open(link.c_str(), O_RDONLY | O_CLOEXEC));
  // A namespace belongs to a thread: one that ends afterwards has nothing to restore.
  const auto look = [&] {
    return ::setns(theirs.get(), CLONE_NEWCGROUP) == 0 ? path_of(hierarchy, pid) : std::string();
  };
  return std::async(std::launch::async, look).get();
}

/// The cgroup that a container was put into, even if its init moved itself deeper.
std::string path_of_container(const Hierarchy& hierarchy, pid_t init) {
  std::string path = path_of(hierarchy, init);
  const std::string inner = path_within_namespace(hierarchy, init);
  if (inner.size() > 1 && path.size() > inner.size() && path.ends_with(inner)) path.resize(path.size() - inner.size());
  return path;
}

bool is_at_or_above(const std::string& upper, const std::string& lower) {
  return lower == upper || lower.starts_with(upper + "/");
}

fs::path directory_of(const Hierarchy& hierarchy, const std::string& path) {
  if (hierarchy.root == "/") return fs::path(hierarchy.mount_point.string() + path);
  if (!is_at_or_above(hierarchy.root, path)) return {};
  return fs::path(hierarchy.mount_point.string() + path.substr(hierarchy.root.size()));
}

/// `directory` and every cgroup beneath it, outer before inner.
std::vector<fs::path> with_all_beneath(const fs::path& directory) {
  std::vector<fs::path> found = {directory};
  for (std::size_t next = 0; next < found.size(); ++next) {
    std::error_code gone;   // a container that runs removes cgroups of its own: that is no end of the others
    fs::directory_iterator entry(found[next], gone);
    for (; !gone && entry != fs::directory_iterator(); entry.increment(gone)) {
      std::error_code ignored;
      if (entry->is_directory(ignored)) found.push_back(entry->path());
    }
  }
  return found;
}

bool may_be_frozen(const Hierarchy& hierarchy, const std::string& path) {
  return path.starts_with("/") && path != "/" && path.find("/..") == std::string::npos &&
         !is_at_or_above(path, path_of(hierarchy, ::getpid()));
}

}  // namespace

std::optional<Cgroup> Cgroup::of_container(pid_t init) {
  const Hierarchy hierarchy = freezing_hierarchy();
  const std::string path = path_of_container(hierarchy, init);
  if (path.empty()) return std::nullopt;
  if (!may_be_frozen(hierarchy, path))
    throw Error(Errc::unsupported_container, "the container has no cgroup of its own: its init is in " + path);
  return Cgroup(hierarchy.version, directory_of(hierarchy, path));
}

std::optional<Cgroup> Cgroup::at(const std::string& path) {
  const Hierarchy hierarchy = freezing_hierarchy();
  if (!may_be_frozen(hierarchy, path)) return std::nullopt;
  Cgroup cgroup(hierarchy.version, directory_of(hierarchy, path));
  if (!cgroup.exists()) return std::nullopt;
  return cgroup;
}

fs::path Cgroup::directory_of_container(pid_t init, std::string_view controller) {
  const auto hierarchy = hierarchy_of(controller);
  if (!hierarchy) return {};
  const std::string path = path_of_container(*hierarchy, init);
  return may_be_frozen(*hierarchy, path) ? directory_of(*hierarchy, path) : fs::path();
}

std::string Cgroup::path_of_ours() { return path_of(freezing_hierarchy(), ::getpid()); }

bool Cgroup::exists() const {
  std::error_code ignored;
  return !directory_.empty() && fs::is_directory(directory_, ignored);
}

bool Cgroup::is_frozen() const {
  if (version_ == Version::v1) return contents_of(directory_ / "freezer.state") == "FROZEN\n";
  return contents_of(directory_ / "cgroup.events").find("frozen 1") != std::string::npos;
}

void Cgroup::request(bool frozen) const {
  if (version_ == Version::v1)
    write_to(directory_ / "freezer.state", frozen ? "FROZEN" : "THAWED");
  else
    write_to(directory_ / "cgroup.freeze", frozen ? "1" : "0");
}

void Cgroup::freeze(std::chrono::milliseconds timeout) const {
  const bool stood_before = is_frozen();   // and may have to, whatever fails here
  request(true);
  try {
    await_frozen(timeout);
  } catch (...) {
    if (!stood_before && exists()) thaw();
    throw;
  }
}

void Cgroup::await_frozen(std::chrono::milliseconds timeout) const {
  const auto deadline = steady_clock::now() + timeout;
  auto retry = steady_clock::now() + kFreezerStuck;
  while (!is_frozen()) {
    if (!exists())
      throw Error(Errc::container_not_running,
                  "the container of " + directory_.string() + " ended while it was being frozen");
    if (steady_clock::now() >= deadline)
      throw Error(Errc::freeze_timed_out, "the tasks of " + directory_.string() + " did not freeze within " +
                                              std::to_string(timeout.count()) + " ms; they run on");
    if (version_ == Version::v1 && steady_clock::now() >= retry) {
      request(false);
      request(true);
      retry = steady_clock::now() + kFreezerStuck;
    }
    std::this_thread::sleep_for(kPollStep);
  }
}

void Cgroup::thaw() const { request(false); }

std::vector<pid_t> Cgroup::processes() const {
  std::vector<pid_t> found;
  for (const auto& directory : with_all_beneath(directory_)) {
    std::ifstream file(directory / "cgroup.procs");
    for (pid_t pid = 0; file >> pid;)
      if (pid > 1) found.push_back(pid);
  }
  return found;
}

pid_t Cgroup::stopped_process() const {
  if (version_ != Version::v1) return 0;
  for (const pid_t pid : processes())
    if (contents_of("/proc/" + std::to_string(pid) + "/status").find("\nState:\tT") != std::string::npos) return pid;
  return 0;
}

void Cgroup::signal_all() const {
  if (version_ == Version::v2 && fs::exists(directory_ / "cgroup.kill"))
    return write_to(directory_ / "cgroup.kill", "1");
  for (const pid_t pid : processes()) ::kill(pid, SIGKILL);
}

void Cgroup::kill(std::chrono::milliseconds timeout) const {
  const auto deadline = steady_clock::now() + timeout;
  while (exists() && !processes().empty()) {
    if (steady_clock::now() >= deadline)
      throw Error(Errc::timed_out, "tasks of " + directory_.string() + " could not be killed");
    try {
      signal_all();
      // A v1 freezer holds even killed tasks; each has its SIGKILL before any of them is let go.
      request(false);
    } catch (const Error&) {
      if (!processes().empty()) throw;   // a supervisor may remove it as soon as the last of them has died
    }
    std::this_thread::sleep_for(1ms);
  }
}

void Cgroup::remove(const std::string& path) {
  for (const auto& hierarchy : mounted_hierarchies()) {
    if (!may_be_frozen(hierarchy, path)) continue;
    const auto found = with_all_beneath(directory_of(hierarchy, path));
    for (auto directory = found.rbegin(); directory != found.rend(); ++directory) ::rmdir(directory->c_str());
  }
}

}  // namespace vmigrate
