// SPDX-License-Identifier: GPL-2.0-or-later
// Owners for OpenSSL's objects, and its error queue as text.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

namespace vmigrate {

template <auto Free>
struct OpensslDeleter {
  template <typename T>
  void operator()(T* object) const noexcept {
    Free(object);
  }
};

using SslPtr = std::unique_ptr<SSL, OpensslDeleter<SSL_free>>;
using SslContextPtr = std::unique_ptr<SSL_CTX, OpensslDeleter<SSL_CTX_free>>;
using X509Ptr = std::unique_ptr<X509, OpensslDeleter<X509_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, OpensslDeleter<EVP_PKEY_free>>;
using BioPtr = std::unique_ptr<BIO, OpensslDeleter<BIO_free>>;
using BioMethodPtr = std::unique_ptr<BIO_METHOD, OpensslDeleter<BIO_meth_free>>;
using NamesPtr = std::unique_ptr<GENERAL_NAMES, OpensslDeleter<GENERAL_NAMES_free>>;

/// The oldest entry of this thread's error queue, which is emptied: "no start line". Empty when there is none.
std::string take_openssl_error();

/// The certificate's common name with control characters replaced; empty when it has none.
std::string common_name_of(const X509* certificate);
/// The DNS names and IP addresses it was issued for: {"beta", "10.77.0.2"}.
std::vector<std::string> certified_names_of(const X509* certificate);
/// "DNS:beta, IP:10.77.0.2"
std::string alternative_names_of(const X509* certificate);
/// "2026-03-01 12:00:00 UTC"
std::string text_of(const ASN1_TIME* time);

}  // namespace vmigrate
