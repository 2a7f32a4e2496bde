// SPDX-License-Identifier: GPL-2.0-or-later
#include "transport/endpoint.h"

#include "tests/catch.h"
#include "tests/support/tls_pair.h"

using namespace vmigrate;
using namespace vmigrate::channel_contract;

namespace {

Task<> dial_nobody(const TlsContext& tls) {
  const auto executor = co_await asio::this_coro::executor;
  Endpoint nobody;
  {
    const auto listener = listen(executor, {"127.0.0.1", 0}, tls);
    nobody = listener->local_endpoint();
    listener->close();
    const auto after_close = co_await failure_of(listener->accept());
    CHECK(after_close == Errc::connection_lost);
  }
  const auto failure = co_await failure_of(connect(nobody, tls));
  CHECK(failure == Errc::connect_failed);
}

Task<> dial_by_name(const TlsContext& alpha, const TlsContext& localhost) {
  const auto executor = co_await asio::this_coro::executor;
  const auto listener = listen(executor, {"127.0.0.1", 0}, localhost);
  const Endpoint by_name{"localhost", listener->local_endpoint().port};
  const auto [dialled, accepted] = co_await (connect(by_name, alpha) && listener->accept());
  CHECK(dialled->peer_name() == "localhost (" + to_string(Endpoint{"127.0.0.1", by_name.port}) + ")");
  CHECK(accepted->peer_name().starts_with("alpha (127.0.0.1:"));
  CHECK(dialled->certified_names() == std::vector<std::string>{"localhost", "127.0.0.1", "127.0.0.2"});
  CHECK(accepted->certified_names() == std::vector<std::string>{"alpha", "127.0.0.1", "127.0.0.2"});
}

Task<> listen_twice(const TlsContext& tls) {
  const auto executor = co_await asio::this_coro::executor;
  const auto first = listen(executor, {"127.0.0.1", 0}, tls);
  int error = 0;
  try {
    listen(executor, first->local_endpoint(), tls);
  } catch (const Error& failure) {
    error = failure.code().value();
    CHECK(std::string(failure.what()).find(to_string(first->local_endpoint())) != std::string::npos);
  }
  CHECK(error == EADDRINUSE);
}

}  // namespace

TEST_CASE("an endpoint is HOST, HOST:PORT or [IPV6]:PORT", "[transport][endpoint]") {
  CHECK(parse_endpoint("beta") == Endpoint{"beta", kDefaultPort});
  CHECK(parse_endpoint("beta.example.org:7701") == Endpoint{"beta.example.org", 7701});
  CHECK(parse_endpoint("10.77.0.2:1") == Endpoint{"10.77.0.2", 1});
  CHECK(parse_endpoint("[fd00::2]:7701") == Endpoint{"fd00::2", 7701});
  CHECK(parse_endpoint("[fd00::2]") == Endpoint{"fd00::2", kDefaultPort});
  CHECK(parse_endpoint("fd00::2") == Endpoint{"fd00::2", kDefaultPort});
  for (const char* text : {"", ":7700", "beta:", "beta:0", "beta:65536", "beta:+1", "beta:77x", "be ta", "be/ta",
                           "-beta", "[beta]:1", "[fd00::2", "[fd00::2]7700", "a:b:c", "be\nta"}) {
    INFO(text);
    CHECK_THROWS_AS(parse_endpoint(text), Error);
  }
}

TEST_CASE("an endpoint reads back as it was written", "[transport][endpoint]") {
  for (const char* text : {"beta:7700", "10.77.0.2:1", "[fd00::2]:7701"})
    CHECK(to_string(parse_endpoint(text)) == text);
}

TEST_CASE("nobody listening is connect_failed", "[transport][endpoint]") {
  const TestPki pki;
  const TlsContext tls(pki.host("alpha"));
  run_task(dial_nobody(tls));
}

TEST_CASE("a host is dialled by its name", "[transport][endpoint]") {
  const TestPki pki;
  const TlsContext alpha(pki.host("alpha"));
  const TlsContext localhost(pki.host("localhost"));
  run_task(dial_by_name(alpha, localhost));
}

TEST_CASE("an address that is taken is named", "[transport][endpoint]") {
  const TestPki pki;
  const TlsContext tls(pki.host("alpha"));
  run_task(listen_twice(tls));
}
