// SPDX-License-Identifier: GPL-2.0-or-later
// TLS 1.3 only, both sides authenticated.
#pragma once

#include <filesystem>

#include <boost/asio/ssl/context.hpp>

namespace vmigrate {

/// The two sides of one host's identity, read from `directory`: ca-cert.pem, server-cert.pem, server-key.pem,
/// client-cert.pem, client-key.pem (the names libvirt and QEMU use). Must outlive every connection made with it.
class TlsContext {
 public:
  /// Throws Error(Errc::tls_failed) naming the file that is missing, unreadable, expired or does not fit its key.
  explicit TlsContext(const std::filesystem::path& directory);

  boost::asio::ssl::context& for_connecting() const { return connecting_; }
  boost::asio::ssl::context& for_accepting() const { return accepting_; }

 private:
  // Asio's stream wants a mutable context although it only takes a reference on the SSL_CTX.
  mutable boost::asio::ssl::context connecting_;
  mutable boost::asio::ssl::context accepting_;
};

}  // namespace vmigrate
