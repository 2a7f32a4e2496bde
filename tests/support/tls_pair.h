// SPDX-License-Identifier: GPL-2.0-or-later
// Certificates in a temporary directory, and a pair of channels over loopback.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/this_coro.hpp>

#include "base/error.h"
#include "tests/contract/channel_contract.h"
#include "transport/endpoint.h"
#include "transport/pki.h"

namespace vmigrate {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "vmigrate-test-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw Error(errno, "mkdtemp", pattern);
    path_ = pattern;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// An authority and hosts that it vouches for, all on 127.0.0.1.
class TestPki {
 public:
  TestPki() { create_authority(ca()); }
  std::filesystem::path ca() const { return directory_.path() / "ca"; }
  /// Issues on first use.
  std::filesystem::path host(const std::string& name, int valid_days = 825) const {
    const auto tls = directory_.path() / name;
    if (!std::filesystem::exists(tls))
      issue_certificates(ca(), tls, {name, {"IP:127.0.0.1", "IP:127.0.0.2"}, valid_days});
    return tls;
  }

 private:
  TemporaryDirectory directory_;
};

inline Task<ChannelPair> connect_pair(const TlsContext& source, const TlsContext& destination) {
  using namespace asio::experimental::awaitable_operators;
  const auto executor = co_await asio::this_coro::executor;
  const auto listener = listen(executor, {"127.0.0.1", 0}, destination);
  auto [dialled, accepted] = co_await (connect(listener->local_endpoint(), source) && listener->accept());
  ChannelPair pair{std::move(dialled), std::move(accepted)};
  co_return std::move(pair);
}

}  // namespace vmigrate
