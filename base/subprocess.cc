// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <span>

#include "base/assert.h"
#include "base/text_file.h"
#include "base/unique_fd.h"

namespace vmigrate {
namespace {

constexpr std::size_t kOutputBytesMax = 1 << 20;
constexpr std::size_t kErrorBytesMax = 64 << 10;
constexpr auto kReapTimeout = std::chrono::seconds(5);
constexpr auto kVigilInterval = std::chrono::milliseconds(100);

struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
};

Pipe make_pipe() {
  std::array<int, 2> fds{};
  check_syscall(::pipe2(fds.data(), O_CLOEXEC), "pipe2");
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

struct ChildFds {
  int input;
  int output;
  int errors;
  int exec_failure;
};

/// Runs in the child, between fork and exec: only async-signal-safe calls.
[[noreturn]] void become(char* const* argv, const ChildFds& fds) {
  ::setpgid(0, 0);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  const int failure = ::fcntl(fds.exec_failure, F_DUPFD_CLOEXEC, 10);
  const int input = ::fcntl(fds.input, F_DUPFD, 10);
  const int output = ::fcntl(fds.output, F_DUPFD, 10);
  const int errors = ::fcntl(fds.errors, F_DUPFD, 10);
  ::dup2(input, 0);
  ::dup2(output, 1);
  ::dup2(errors, 2);
  // Everything else is closed by exec; `failure` is close-on-exec like the rest.
  ::syscall(SYS_close_range, 3U, static_cast<unsigned>(failure) - 1, 0U);
  ::syscall(SYS_close_range, static_cast<unsigned>(failure) + 1, ~0U, 0U);
  ::execvp(argv[0], argv);
  const int saved = errno;
  [[maybe_unused]] const auto told = ::write(failure, &saved, sizeof saved);
  ::_exit(127);
}

class Child {
 public:
  explicit Child(pid_t pid) : pid_(pid), pidfd_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {}
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (!is_reaped_) kill_and_reap();
  }

  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }

  void kill_and_reap() noexcept {
    ::kill(-pid_, SIGKILL);
    ::kill(pid_, SIGKILL);
    pollfd exited{pidfd_.get(), POLLIN, 0};
    ::poll(&exited, 1, static_cast<int>(std::chrono::milliseconds(kReapTimeout).count()));
    // A child stuck in the kernel (frozen, or in D state) is left to init rather than waited for.
    ::waitpid(pid_, nullptr, WNOHANG);
    is_reaped_ = true;
  }

  int reap() {
    int status = 0;
    check_syscall(::waitpid(pid_, &status, 0), "waitpid");
    is_reaped_ = true;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }

 private:
  pid_t pid_;
  UniqueFd pidfd_;
  bool is_reaped_ = false;
};

UniqueFd open_null(int flags) {
  return UniqueFd(check_syscall(::open("/dev/null", flags | O_CLOEXEC), "open", "/dev/null"));
}

void keep_first(std::string& kept, std::span<const char> bytes) {
  kept.append(bytes.data(), std::min(bytes.size(), kOutputBytesMax - kept.size()));
}

void keep_last(std::string& kept, std::span<const char> bytes) {
  kept.append(bytes.data(), bytes.size());
  if (kept.size() > kErrorBytesMax) kept.erase(0, kept.size() - kErrorBytesMax);
}

/// Moves what is readable; closes `fd` at end of file.
template <typename Keep>
void drain(UniqueFd& fd, std::string& into, Keep keep) {
  std::array<char, 65536> buffer;
  const ssize_t count = ::read(fd.get(), buffer.data(), buffer.size());
  if (count > 0) keep(into, std::span<const char>(buffer.data(), static_cast<std::size_t>(count)));
  if (count == 0 || (count < 0 && errno != EINTR && errno != EAGAIN)) fd.reset();
}

void feed(UniqueFd& fd, std::string_view& input) {
  const ssize_t count = ::write(fd.get(), input.data(), input.size());
  if (count > 0) input.remove_prefix(static_cast<std::size_t>(count));
  if (input.empty() || (count < 0 && errno != EINTR && errno != EAGAIN)) fd.reset();
}

/// False where the kernel does not tell.
bool is_dead(pid_t pid) try {
  const std::string stat = read_text("/proc/" + std::to_string(pid) + "/stat").value_or("");
  const auto name_end = stat.rfind(") ");
  return name_end != std::string::npos && stat.compare(name_end + 2, 1, "Z") == 0;
} catch (const Error&) {
  return false;
}

/// True if a child of the command's own, of any of its threads, has ended and nobody has asked how. False where the
/// kernel does not tell.
bool has_dead_child(pid_t pid) {
  std::error_code ignored;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task", ignored)) {
    std::ifstream children(thread.path() / "children");
    for (pid_t child = 0; children >> child;)
      if (is_dead(child)) return true;
  }
  return false;
}

/// How long a command has been waiting for a dead child.
class Vigil {
 public:
  Vigil(pid_t pid, std::chrono::milliseconds patience) : pid_(pid), patience_(patience) {}

  bool is_kept() const { return patience_.count() > 0; }
  bool is_over() {
    if (!is_kept()) return false;
    const auto now = std::chrono::steady_clock::now();
    if (!has_dead_child(pid_)) since_ = now;
    return now - since_ > patience_;
  }

 private:
  pid_t pid_;
  std::chrono::milliseconds patience_;
  std::chrono::steady_clock::time_point since_ = std::chrono::steady_clock::now();
};

/// Talks with the child until it has exited and its pipes are empty, or the deadline passes.
void converse(const Command& command, Child& child, UniqueFd input, UniqueFd output, UniqueFd errors,
              CommandResult& result) {
  const auto deadline = std::chrono::steady_clock::now() + command.timeout;
  std::string_view rest = command.input;
  bool has_exited = false;
  Vigil vigil(child.pid(), command.patience_with_dead_children);
  while (!has_exited || output.is_open() || errors.is_open()) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) {
      child.kill_and_reap();
      throw Error(Errc::timed_out, command.argv[0] + " did not end within " + std::to_string(command.timeout.count()) +
                                       " ms and was killed");
    }
    if (!has_exited && vigil.is_over()) {
      child.kill_and_reap();
      throw Error(Errc::timed_out, command.argv[0] + " was killed: it waited for a process that had died");
    }
    const auto pause = vigil.is_kept() ? std::min(left, kVigilInterval) : left;
    std::array<pollfd, 4> fds = {pollfd{has_exited ? -1 : child.pidfd(), POLLIN, 0}, pollfd{input.get(), POLLOUT, 0},
                                 pollfd{output.get(), POLLIN, 0}, pollfd{errors.get(), POLLIN, 0}};
    if (::poll(fds.data(), fds.size(), static_cast<int>(pause.count())) < 0 && errno != EINTR)
      throw Error(errno, "poll");
    if (fds[1].revents != 0) feed(input, rest);
    if (fds[2].revents != 0) drain(output, result.output, keep_first);
    if (fds[3].revents != 0) drain(errors, result.errors, keep_last);
    if (fds[0].revents != 0) has_exited = true;
  }
}

std::string last_line(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  return std::string(text.substr(text.rfind('\n') + 1));
}

}  // namespace

CommandResult run_command(const Command& command) {
  MIGRATE_ASSERT(!command.argv.empty());
  std::vector<char*> argv;
  for (const auto& word : command.argv) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);

  Pipe input = make_pipe();
  Pipe output = make_pipe();
  Pipe errors = make_pipe();
  Pipe exec_failure = make_pipe();
  UniqueFd null_in = open_null(O_RDONLY);
  UniqueFd null_out = open_null(O_WRONLY);
  const ChildFds fds = {command.input.empty() ? null_in.get() : input.read_end.get(),
                        command.discards_output ? null_out.get() : output.write_end.get(),
                        command.discards_output ? null_out.get() : errors.write_end.get(),
                        exec_failure.write_end.get()};
  const pid_t pid = check_syscall(::fork(), "fork");
  if (pid == 0) become(argv.data(), fds);
  Child child(pid);
  input.read_end.reset();
  output.write_end.reset();
  errors.write_end.reset();
  exec_failure.write_end.reset();
  if (command.input.empty()) input.write_end.reset();
  if (input.write_end.is_open()) ::fcntl(input.write_end.get(), F_SETFL, O_NONBLOCK);

  int exec_errno = 0;
  if (::read(exec_failure.read_end.get(), &exec_errno, sizeof exec_errno) == sizeof exec_errno) {
    child.reap();
    throw Error(exec_errno, "cannot run", command.argv[0]);
  }
  CommandResult result;
  converse(command, child, std::move(input.write_end), std::move(output.read_end), std::move(errors.read_end), result);
  result.exit_status = child.reap();
  return result;
}

CommandResult run_checked(const Command& command, Errc errc) {
  CommandResult result = run_command(command);
  if (result.exit_status == 0) return result;
  std::string sentence = command.argv[0];
  if (command.argv.size() > 1) sentence += " " + command.argv[1];
  const std::string why = last_line(result.errors.empty() ? result.output : result.errors);
  throw Error(errc,
              sentence + " failed with status " + std::to_string(result.exit_status) + (why.empty() ? "" : ": " + why));
}

std::string first_line_of(const std::string& errors) {
  constexpr std::size_t kCharactersMax = 200;
  std::string line = errors.substr(0, std::min(errors.find_first_of("\r\n"), kCharactersMax));
  std::ranges::replace_if(line, [](char c) { return c < ' ' || c > '~'; }, '?');
  return line;
}

}  // namespace vmigrate
