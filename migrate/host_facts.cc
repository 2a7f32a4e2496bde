// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/host_facts.h"

#include <sys/utsname.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <sstream>

#include "base/error.h"
#include "base/text_file.h"

namespace vmigrate {
namespace {

utsname read_uname() {
  utsname names{};
  check_syscall(::uname(&names), "uname");
  return names;
}

std::string join(const std::vector<std::string>& words, std::size_t count_max) {
  std::string text;
  for (std::size_t i = 0; i < words.size() && i < count_max; ++i) text += (i == 0 ? "" : ", ") + words[i];
  if (words.size() > count_max) text += " and " + std::to_string(words.size() - count_max) + " more";
  return text;
}

}  // namespace

std::vector<std::string> parse_cpu_flags(const std::string& cpuinfo) {
  std::istringstream lines(cpuinfo);
  for (std::string line; std::getline(lines, line);) {
    const auto colon = line.find(':');
    if (colon == std::string::npos || (!line.starts_with("flags") && !line.starts_with("Features"))) continue;
    std::istringstream words(line.substr(colon + 1));
    return {std::istream_iterator<std::string>(words), {}};
  }
  return {};
}

Task<HostFacts> read_host_facts(Checkpointer& checkpointer, std::string runtime) {
  const utsname names = read_uname();
  const std::string tools = co_await checkpointer.check(std::move(runtime));
  co_return HostFacts{names.machine, names.release, parse_cpu_flags(read_text("/proc/cpuinfo").value_or("")), tools};
}

void check_compatible(const HostFacts& source, const HostFacts& destination, const std::string& destination_name) {
  if (source.architecture != destination.architecture)
    throw Error(Errc::incompatible_host, destination_name + " is a " + destination.architecture +
                                             " machine, the container runs on " + source.architecture +
                                             "; choose a destination of the same architecture");
  const std::set<std::string> there(destination.cpu_flags.begin(), destination.cpu_flags.end());
  std::vector<std::string> missing;
  for (const auto& flag : source.cpu_flags)
    if (!there.contains(flag)) missing.push_back(flag);
  if (!missing.empty())
    throw Error(Errc::incompatible_host, "the CPU of " + destination_name +
                                             " lacks features that the processes may be using (" + join(missing, 8) +
                                             "); choose a destination with the same or a newer CPU");
}

std::string host_name() { return read_uname().nodename; }

}  // namespace vmigrate
