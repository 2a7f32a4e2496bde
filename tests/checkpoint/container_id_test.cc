// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/error.h"
#include "checkpoint/container_runtime.h"
#include "tests/catch.h"

using namespace vmigrate;

TEST_CASE("a container id is what every runtime accepts", "[checkpoint]") {
  for (const std::string id : {"a", "redis", "ct-7", "a.b_c+d-e", "0"}) CHECK_NOTHROW(check_container_id(id));
  CHECK_NOTHROW(check_container_id(std::string(200, 'a')));
}

TEST_CASE("an id that could be a path, an option or a line of its own is refused", "[checkpoint]") {
  using namespace std::string_literals;
  const std::vector<std::string> bad = {"",
                                        "/",
                                        "a/b",
                                        "..",
                                        "a..b",
                                        ".a",
                                        "-a",
                                        "--root",
                                        "a b",
                                        "a\nb",
                                        "a\0b"s,
                                        "a;b",
                                        "a$b",
                                        "\xc3\xa4",
                                        "a*",
                                        "a:b",
                                        "~",
                                        std::string(300, 'a'),
                                        std::string(201, 'a')};
  for (const auto& id : bad) {
    INFO(id);
    CHECK_THROWS_AS(check_container_id(id), Error);
  }
}
