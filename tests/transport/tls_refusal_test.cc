// SPDX-License-Identifier: GPL-2.0-or-later
// Peers that must not get in: a raw client shows a real listener every wrong certificate and every wrong protocol.
#include <sys/socket.h>

#include <array>
#include <fstream>
#include <vector>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>

#include "tests/catch.h"
#include "tests/support/tls_pair.h"
#include "transport/openssl.h"
#include "transport/tls_failure.h"

using namespace vmigrate;
using namespace vmigrate::channel_contract;
using asio::ip::tcp;
namespace ssl = asio::ssl;

namespace {

void bundle(const std::vector<std::filesystem::path>& parts, const std::filesystem::path& whole) {
  std::ofstream out(whole, std::ios::trunc);
  for (const auto& part : parts) out << std::ifstream(part).rdbuf();
}

/// A client's context by hand, with whatever certificate it likes; it trusts everybody.
ssl::context raw_client(const std::filesystem::path& certificate, const std::filesystem::path& key) {
  ssl::context context(ssl::context::tls_client);
  context.set_verify_mode(ssl::verify_none);
  if (certificate.empty()) return context;
  context.use_certificate_chain_file(certificate.string());
  context.use_private_key_file(key.string(), ssl::context::pem);
  return context;
}

tcp::socket dial(asio::any_io_executor executor, const Endpoint& to) {
  tcp::socket socket(executor);
  socket.connect({asio::ip::make_address(to.host), to.port});
  return socket;
}

/// The error a raw client sees: at the handshake or, as TLS 1.3 has it, at its first read.
Task<std::string> outcome_for(ssl::context& context, Endpoint to) {
  const auto executor = co_await asio::this_coro::executor;
  ssl::stream<tcp::socket> stream(dial(executor, to), context);
  std::array<char, 1> byte{};
  const auto [handshake] =
      co_await stream.async_handshake(ssl::stream_base::client, asio::as_tuple(asio::use_awaitable));
  if (handshake) co_return handshake.message();
  const auto [read, size] = co_await stream.async_read_some(asio::buffer(byte), asio::as_tuple(asio::use_awaitable));
  co_return read.message();
}

Task<std::string> refusal_of(const TestPki& pki, ssl::context& client) {
  const auto executor = co_await asio::this_coro::executor;
  const TlsContext beta(pki.host("beta"));
  const auto listener = listen(executor, {"127.0.0.1", 0}, beta);
  const auto outcome = co_await (outcome_for(client, listener->local_endpoint()) || listener->accept());
  if (outcome.index() == 1) co_return "accepted";
  co_return std::get<0>(outcome);
}

std::string refusal(const TestPki& pki, ssl::context client) { return run_task(refusal_of(pki, client)); }

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

struct Failure {
  Errc code{};
  std::string sentence;
};

Task<Failure> dial_and_listen_to(Endpoint to, const TlsContext& tls) {
  try {
    const auto channel = co_await connect(to, tls);
    co_await channel->receive();
  } catch (const Error& error) {
    co_return Failure{error.code_or(Errc::internal), error.what()};
  }
  co_return Failure{};
}

Task<Failure> our_client_against(const TlsContext& client, const TlsContext& server, std::string host) {
  const auto executor = co_await asio::this_coro::executor;
  const auto listener = listen(executor, {"127.0.0.1", 0}, server);
  const Endpoint to{host, listener->local_endpoint().port};
  const auto outcome = co_await (dial_and_listen_to(to, client) || listener->accept());
  if (outcome.index() == 1) co_return Failure{Errc{}, "accepted"};
  co_return std::get<0>(outcome);
}

Task<> send_at_once(Endpoint to, const TlsContext& tls, Failure& failure) {
  try {
    const auto channel = co_await connect(to, tls);
    const auto bytes = pattern(kDataBytesMax, 1);
    co_await send_blocks(*channel, bytes, 1000);
  } catch (const Error& error) {
    failure = {error.code_or(Errc::internal), error.what()};
  }
}

Task<Failure> sending_against(const TlsContext& client, const TlsContext& server) {
  const auto executor = co_await asio::this_coro::executor;
  const auto listener = listen(executor, {"127.0.0.1", 0}, server);
  Failure failure;
  co_await (send_at_once(listener->local_endpoint(), client, failure) || listener->accept());
  co_return failure;
}

Task<> speak(tcp::socket& socket, std::string words) {
  co_await asio::async_write(socket, asio::buffer(words), asio::as_tuple(asio::use_awaitable));
}

/// Returns how long the listener kept the connection open.
Task<Duration> time_until_dropped(tcp::socket& socket) {
  const auto began = std::chrono::steady_clock::now();
  std::array<char, 256> answer{};
  for (;;) {
    const auto [error, size] =
        co_await socket.async_read_some(asio::buffer(answer), asio::as_tuple(asio::use_awaitable));
    if (error) co_return std::chrono::steady_clock::now() - began;
  }
}

Task<> talk_nonsense(const TlsContext& tls, std::string words) {
  const auto executor = co_await asio::this_coro::executor;
  const auto listener = listen(executor, {"127.0.0.1", 0}, tls, {.handshake_timeout = 300ms});
  tcp::socket socket = dial(executor, listener->local_endpoint());
  co_await speak(socket, words);
  const auto outcome = co_await (time_until_dropped(socket) || listener->accept());
  REQUIRE(outcome.index() == 0);
  CHECK(std::get<0>(outcome) < 2s);
}

Task<> crowd(const TlsContext& alpha, const TlsContext& beta, std::size_t silent, ListenLimits limits) {
  const auto executor = co_await asio::this_coro::executor;
  const auto listener = listen(executor, {"127.0.0.1", 0}, beta, limits);
  std::vector<tcp::socket> crowd;
  for (std::size_t i = 0; i < silent; ++i) {
    crowd.push_back(dial(executor, listener->local_endpoint()));
    co_await asio::post(executor, asio::use_awaitable);
  }
  const auto began = std::chrono::steady_clock::now();
  const auto [dialled, accepted] = co_await (connect(listener->local_endpoint(), alpha) && listener->accept());
  CHECK(std::chrono::steady_clock::now() - began < 2s);
  co_await send_rounds(*dialled, 1);
  co_await receive_rounds(*accepted, 1);
}

std::size_t count_open(std::vector<tcp::socket>& sockets) {
  std::size_t open = 0;
  for (tcp::socket& socket : sockets) {
    char byte = 0;
    open += ::recv(socket.native_handle(), &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN ? 1 : 0;
  }
  return open;
}

/// How many of `count` silent peers are kept, once as few as `wanted` are left or ten seconds have passed.
Task<std::size_t> still_open(const TlsContext& beta, std::size_t count, std::size_t wanted, ListenLimits limits) {
  const auto executor = co_await asio::this_coro::executor;
  const auto listener = listen(executor, {"127.0.0.1", 0}, beta, limits);
  std::vector<tcp::socket> crowd;
  for (std::size_t i = 0; i < count; ++i) crowd.push_back(dial(executor, listener->local_endpoint()));
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  while (count_open(crowd) > wanted && std::chrono::steady_clock::now() < deadline) co_await pause(5ms);
  co_return count_open(crowd);
}

}  // namespace

TEST_CASE("a client with a good certificate is accepted", "[transport][tls]") {
  const TestPki pki;
  const auto tls = pki.host("alpha");
  CHECK(refusal(pki, raw_client(tls / "client-cert.pem", tls / "client-key.pem")) == "accepted");
}

TEST_CASE("a client without a certificate is refused", "[transport][tls]") {
  const TestPki pki;
  CHECK(contains(refusal(pki, raw_client("", "")), "certificate required"));
}

TEST_CASE("a client whose certificate has expired is refused", "[transport][tls]") {
  const TestPki pki;
  const auto tls = pki.host("alpha", -1);
  CHECK(contains(refusal(pki, raw_client(tls / "client-cert.pem", tls / "client-key.pem")), "certificate expired"));
}

TEST_CASE("a client with a self-signed certificate is refused", "[transport][tls]") {
  const TestPki pki;
  const TestPki own;
  CHECK(contains(refusal(pki, raw_client(own.ca() / "ca-cert.pem", own.ca() / "ca-key.pem")), "unknown ca"));
}

TEST_CASE("a client of another authority is refused", "[transport][tls]") {
  const TestPki pki;
  const TestPki foreign;
  const auto tls = foreign.host("alpha");
  CHECK(contains(refusal(pki, raw_client(tls / "client-cert.pem", tls / "client-key.pem")), "unknown ca"));
}

TEST_CASE("a server's certificate does not open a client's connection", "[transport][tls]") {
  const TestPki pki;
  const auto tls = pki.host("alpha");
  CHECK(contains(refusal(pki, raw_client(tls / "server-cert.pem", tls / "server-key.pem")), "unsupported certificate"));
}

TEST_CASE("a client that speaks TLS 1.2 is refused", "[transport][tls]") {
  const TestPki pki;
  const auto tls = pki.host("alpha");
  auto client = raw_client(tls / "client-cert.pem", tls / "client-key.pem");
  SSL_CTX_set_max_proto_version(client.native_handle(), TLS1_2_VERSION);
  CHECK(contains(refusal(pki, std::move(client)), "protocol version"));
}

TEST_CASE("a server that is not the host we dialled is refused", "[transport][tls]") {
  const TestPki pki;
  const TlsContext alpha(pki.host("alpha"));
  const TlsContext beta(pki.host("beta"));
  const Failure failure = run_task(our_client_against(alpha, beta, "localhost"));
  CHECK(failure.code == Errc::tls_failed);
  INFO(failure.sentence);
  CHECK(contains(failure.sentence, "names DNS:beta, IP:127.0.0.1"));
}

TEST_CASE("a server of another authority is refused", "[transport][tls]") {
  const TestPki pki;
  const TestPki foreign;
  const TlsContext alpha(pki.host("alpha"));
  const TlsContext beta(foreign.host("beta"));
  const Failure failure = run_task(our_client_against(alpha, beta, "127.0.0.1"));
  CHECK(failure.code == Errc::tls_failed);
  CHECK(contains(failure.sentence, "another CA"));
}

TEST_CASE("a client hears in words that its certificate was refused", "[transport][tls]") {
  // While an authority is replaced a host may trust both, its peer only the old one.
  const TestPki old_authority;
  const TestPki new_authority;
  const auto tls = new_authority.host("alpha");
  bundle({old_authority.ca() / "ca-cert.pem", new_authority.ca() / "ca-cert.pem"}, tls / "ca-cert.pem");
  const TlsContext alpha(tls);
  const TlsContext beta(old_authority.host("beta"));
  SECTION("when it listens first") {
    const Failure failure = run_task(our_client_against(alpha, beta, "127.0.0.1"));
    CHECK(failure.code == Errc::tls_failed);
    INFO(failure.sentence);
    CHECK(failure.sentence.starts_with("beta (127.0.0.1:"));
    CHECK(contains(failure.sentence, "refused our certificate: certificate issued by a CA it does not trust"));
  }
  SECTION("when it sends first") {
    const Failure failure = run_task(sending_against(alpha, beta));
    INFO(failure.sentence);
    CHECK(failure.code == Errc::tls_failed);
  }
}

TEST_CASE("every distrustful alert has its words", "[transport][tls]") {
  for (const int reason : {SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, SSL_R_TLSV1_ALERT_UNKNOWN_CA,
                           SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE, SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED})
    CHECK_FALSE(distrust_in_alert(ERR_PACK(ERR_LIB_SSL, 0, reason)).empty());
  CHECK(distrust_in_alert(ERR_PACK(ERR_LIB_SSL, 0, SSL_R_WRONG_VERSION_NUMBER)).empty());
}

TEST_CASE("plain text, garbage and silence are dropped", "[transport][tls]") {
  const TestPki pki;
  const TlsContext beta(pki.host("beta"));
  std::string garbage;
  for (const std::byte b : pattern(4096, 5)) garbage.push_back(static_cast<char>(b));
  SECTION("plain text") { run_task(talk_nonsense(beta, "GET / HTTP/1.0\r\n\r\n")); }
  SECTION("garbage") { run_task(talk_nonsense(beta, garbage)); }
  SECTION("silence") { run_task(talk_nonsense(beta, "")); }
  SECTION("a record that never ends") { run_task(talk_nonsense(beta, std::string("\x16\x03\x01\x40\x00\x01", 6))); }
}

TEST_CASE("a crowd of silent peers holds up nobody", "[transport][tls]") {
  const TestPki pki;
  const TlsContext alpha(pki.host("alpha"));
  const TlsContext beta(pki.host("beta"));
  run_task(crowd(alpha, beta, 200, {.handshake_timeout = 60s}));
}

TEST_CASE("unfinished handshakes are limited, by address and in all", "[transport][tls]") {
  const TestPki pki;
  const TlsContext beta(pki.host("beta"));
  const ListenLimits by_address{.preauth_max = 64, .preauth_per_address_max = 8, .handshake_timeout = 60s};
  const ListenLimits in_all{.preauth_max = 5, .preauth_per_address_max = 8, .handshake_timeout = 60s};
  CHECK(run_task(still_open(beta, 50, 8, by_address)) == 8);
  CHECK(run_task(still_open(beta, 50, 5, in_all)) == 5);
}
