// SPDX-License-Identifier: GPL-2.0-or-later
// Which host can take over a container from which.
#include "migrate/host_facts.h"

#include "base/error.h"
#include "tests/catch.h"

using namespace vmigrate;

namespace {

const HostFacts kOld{"x86_64", "6.1.0", {"fpu", "sse2", "avx"}, "criu 4.1.1"};
const HostFacts kNew{"x86_64", "6.12.1", {"avx", "avx2", "fpu", "sse2"}, "criu 4.2.1"};

std::string refusal(const HostFacts& source, const HostFacts& destination) {
  try {
    check_compatible(source, destination, "beta");
  } catch (const Error& error) {
    CHECK(error.code_or(Errc::internal) == Errc::incompatible_host);
    return error.what();
  }
  return {};
}

}  // namespace

TEST_CASE("a newer CPU takes over what an older one ran, in whatever order it lists its features", "[migrate][hosts]") {
  CHECK(refusal(kOld, kNew).empty());
  CHECK(refusal(kOld, kOld).empty());
}

TEST_CASE("an older CPU is refused with the features it lacks", "[migrate][hosts]") {
  const std::string sentence = refusal(kNew, kOld);
  CHECK(sentence.find("avx2") != std::string::npos);
  CHECK(sentence.find("sse2") == std::string::npos);
  CHECK(sentence.find("beta") != std::string::npos);
}

TEST_CASE("a long list of missing features is cut short", "[migrate][hosts]") {
  HostFacts rich = kOld;
  for (int i = 0; i < 40; ++i) rich.cpu_flags.push_back("feature" + std::to_string(i));
  const std::string sentence = refusal(rich, kOld);
  CHECK(sentence.find("feature7") != std::string::npos);
  CHECK(sentence.find("and 32 more") != std::string::npos);
}

TEST_CASE("another architecture is refused with both names", "[migrate][hosts]") {
  HostFacts arm = kNew;
  arm.architecture = "aarch64";
  const std::string sentence = refusal(kOld, arm);
  CHECK(sentence.find("aarch64") != std::string::npos);
  CHECK(sentence.find("x86_64") != std::string::npos);
}

TEST_CASE("CPU features are read from the first processor, on x86 and arm", "[migrate][hosts]") {
  CHECK(parse_cpu_flags("processor\t: 0\nflags\t\t: fpu sse2\n\nprocessor\t: 1\nflags\t\t: fpu\n") ==
        std::vector<std::string>{"fpu", "sse2"});
  CHECK(parse_cpu_flags("processor\t: 0\nFeatures\t: fp asimd\n") == std::vector<std::string>{"fp", "asimd"});
  CHECK(parse_cpu_flags("").empty());
  CHECK(parse_cpu_flags("flags without a colon\n").empty());
}
