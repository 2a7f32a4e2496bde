// SPDX-License-Identifier: GPL-2.0-or-later
#include "transport/endpoint.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <variant>
#include <vector>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>

#include "transport/tls_channel.h"

namespace vmigrate {
namespace {

using asio::ip::tcp;
using std::chrono::steady_clock;

constexpr auto kConnectTimeout = std::chrono::seconds(10);
constexpr std::size_t kHostBytesMax = 253;  // the longest DNS name

[[noreturn]] void refuse(std::string_view text, const char* why) {
  throw Error(Errc::usage, "\"" + std::string(text) + "\" is not HOST, HOST:PORT or [IPV6]:PORT: " + why);
}

std::uint16_t parse_port(std::string_view digits, std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc() || end != digits.data() + digits.size() || port == 0)
    refuse(text, "the port must be a number from 1 to 65535");
  return port;
}

bool is_host_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}

bool is_ipv6(std::string_view host) {
  boost::system::error_code error;
  asio::ip::make_address_v6(host, error);
  return !error;
}

void check_host(std::string_view host, std::string_view text) {
  if (host.empty()) refuse(text, "the host is missing");
  if (host.size() > kHostBytesMax) refuse(text, "the host name is too long");
  if (host.front() == '-' || !std::all_of(host.begin(), host.end(), is_host_character))
    refuse(text, "the host is neither a name nor an address");
}

Endpoint parse_bracketed(std::string_view text) {
  const auto close = text.find(']');
  if (close == std::string_view::npos) refuse(text, "the ] is missing");
  const auto host = text.substr(1, close - 1);
  if (!is_ipv6(host)) refuse(text, "only an IPv6 address stands in brackets");
  const auto rest = text.substr(close + 1);
  if (rest.empty()) return {std::string(host)};
  if (rest[0] != ':') refuse(text, "only a port may follow the ]");
  return {std::string(host), parse_port(rest.substr(1), text)};
}

/// What a lookup in the background leaves behind; shared, since getaddrinfo cannot be interrupted and may come late.
struct Lookup {
  explicit Lookup(const asio::any_io_executor& executor) : resolver(executor), is_done(executor) {}
  tcp::resolver resolver;
  asio::steady_timer is_done;
  boost::system::error_code error;
  std::optional<tcp::resolver::results_type> results;
};

Task<std::vector<tcp::endpoint>> resolve(Endpoint endpoint, TimePoint deadline) {
  boost::system::error_code not_an_address;
  const auto address = asio::ip::make_address(endpoint.host, not_an_address);
  if (!not_an_address) co_return std::vector{tcp::endpoint(address, endpoint.port)};

  const auto executor = co_await asio::this_coro::executor;
  const auto lookup = std::make_shared<Lookup>(executor);
  lookup->is_done.expires_at(deadline);
  lookup->resolver.async_resolve(endpoint.host, std::to_string(endpoint.port), tcp::resolver::numeric_service,
                                 [lookup](boost::system::error_code error, tcp::resolver::results_type results) {
                                   lookup->error = error;
                                   lookup->results = std::move(results);
                                   lookup->is_done.cancel();
                                 });
  if (!lookup->results) co_await lookup->is_done.async_wait(asio::as_tuple(asio::use_awaitable));
  if (!lookup->results) {
    lookup->resolver.cancel();
    throw Error(Errc::timed_out, "looking up " + endpoint.host + " takes too long");
  }
  if (lookup->error)
    throw Error(Errc::connect_failed, "cannot look up " + endpoint.host + ": " + lookup->error.message());
  std::vector<tcp::endpoint> found;
  for (const auto& entry : *lookup->results) found.push_back(entry.endpoint());
  co_return found;
}

using MaybeSocket = std::variant<boost::system::error_code, tcp::socket>;

Task<MaybeSocket> dial(tcp::endpoint address, TimePoint deadline) {
  using namespace asio::experimental::awaitable_operators;
  const auto executor = co_await asio::this_coro::executor;
  tcp::socket socket(executor);
  asio::steady_timer timer(executor, deadline);
  const auto outcome = co_await (socket.async_connect(address, asio::as_tuple(asio::use_awaitable)) ||
                                 timer.async_wait(asio::as_tuple(asio::use_awaitable)));
  if (outcome.index() == 1) co_return MaybeSocket(asio::error::timed_out);
  const auto [error] = std::get<0>(outcome);
  if (error) co_return MaybeSocket(error);
  co_return MaybeSocket(std::move(socket));
}

/// One address after the other, each with an equal part of what time is left.
Task<tcp::socket> dial_any(std::vector<tcp::endpoint> addresses, Endpoint endpoint, TimePoint deadline) {
  boost::system::error_code last = asio::error::host_not_found;
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    const auto now = steady_clock::now();
    const auto share = (deadline - now) / static_cast<long>(addresses.size() - i);
    MaybeSocket dialled = co_await dial(addresses[i], now + share);
    if (auto* socket = std::get_if<tcp::socket>(&dialled)) co_return std::move(*socket);
    last = std::get<0>(dialled);
  }
  if (last == asio::error::timed_out) throw Error(Errc::timed_out, to_string(endpoint) + " does not answer");
  throw Error(Errc::connect_failed, "cannot connect to " + to_string(endpoint) + ": " + last.message());
}

}  // namespace

Endpoint parse_endpoint(std::string_view text) {
  if (text.starts_with('[')) return parse_bracketed(text);
  if (is_ipv6(text)) return {std::string(text)};
  const auto colon = text.find(':');
  const auto host = text.substr(0, colon);
  check_host(host, text);
  if (colon == std::string_view::npos) return {std::string(host)};
  return {std::string(host), parse_port(text.substr(colon + 1), text)};
}

std::string to_string(const Endpoint& endpoint) {
  const bool needs_brackets = endpoint.host.find(':') != std::string::npos;
  return (needs_brackets ? "[" + endpoint.host + "]" : endpoint.host) + ":" + std::to_string(endpoint.port);
}

Task<std::unique_ptr<Channel>> connect(Endpoint endpoint, const TlsContext& tls) {
  const TimePoint deadline = steady_clock::now() + kConnectTimeout;
  const auto addresses = co_await resolve(endpoint, deadline);
  tcp::socket socket = co_await dial_any(addresses, endpoint, deadline);
  auto stream = std::make_unique<TlsStream>(std::move(socket), tls.for_connecting().native_handle(),
                                            TlsRole::connecting, endpoint.host);
  stream->require_name(endpoint.host);
  co_await stream->shake_hands(deadline);
  co_return std::make_unique<TlsChannel>(std::move(stream));
}

}  // namespace vmigrate
