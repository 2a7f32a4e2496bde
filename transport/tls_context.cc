// SPDX-License-Identifier: GPL-2.0-or-later
#include "transport/tls_context.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "base/error.h"
#include "transport/openssl.h"
#include "transport/tls_failure.h"

namespace vmigrate {
namespace {

namespace ssl = boost::asio::ssl;
using std::filesystem::path;

constexpr int kChainDepthMax = 2;
constexpr long kChainBytesMax = 16 << 10;  // what OpenSSL takes in before it has looked at a certificate
// AES-128-GCM is the fastest suite on every CPU with AES instructions; ChaCha20 is for those without.
constexpr const char* kSuites = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
constexpr const char* kGroups = "X25519:P-256";

[[noreturn]] void fail(const std::string& sentence) {
  const std::string detail = take_openssl_error();
  throw Error(Errc::tls_failed, sentence + (detail.empty() ? "" : " (" + detail + ")"));
}

void require_readable(const path& file) {
  const BioPtr bio(BIO_new_file(file.c_str(), "r"));
  if (bio) return;
  ERR_clear_error();
  throw Error(Errc::tls_failed, "cannot read " + file.string() + ": " +
                                    std::generic_category().message(errno) + "; \"vmigrate pki\" makes it");
}

void restrict(SSL_CTX* context) {
  const bool is_set = SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
                      SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
                      SSL_CTX_set_ciphersuites(context, kSuites) == 1 &&
                      SSL_CTX_set1_groups_list(context, kGroups) == 1 && SSL_CTX_set_num_tickets(context, 0) == 1 &&
                      SSL_CTX_set_max_early_data(context, 0) == 1;
  if (!is_set) fail("this OpenSSL does not offer what TLS 1.3 needs");
  SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, &judge_certificate);
  SSL_CTX_set_verify_depth(context, kChainDepthMax);
  SSL_CTX_set_max_cert_list(context, kChainBytesMax);
}

void load_authority(SSL_CTX* context, const path& file) {
  require_readable(file);
  if (SSL_CTX_load_verify_file(context, file.c_str()) != 1) fail(file.string() + " holds no CA certificate");
}

void load_identity(SSL_CTX* context, const path& certificate, const path& key) {
  require_readable(certificate);
  require_readable(key);
  if (SSL_CTX_use_certificate_chain_file(context, certificate.c_str()) != 1)
    fail(certificate.string() + " holds no certificate");
  // Checked by hand below: this call would also refuse a key that does not fit, with a worse sentence.
  const BioPtr bio(BIO_new_file(key.c_str(), "r"));
  const KeyPtr loaded(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
  if (!loaded) fail(key.string() + " holds no private key");
  if (X509_check_private_key(SSL_CTX_get0_certificate(context), loaded.get()) != 1)
    fail(key.string() + " is not the key of " + certificate.string());
  if (SSL_CTX_use_PrivateKey(context, loaded.get()) != 1) fail("cannot use " + key.string());
}

void require_valid_now(const X509* certificate, const path& file) {
  if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0)
    fail(file.string() + " expired on " + text_of(X509_get0_notAfter(certificate)) + "; issue a new one");
  if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0)
    fail(file.string() + " is not valid before " + text_of(X509_get0_notBefore(certificate)) + "; check the clock");
}

/// Finds at start what every peer would otherwise find at each connection.
void require_issued_by_authority(SSL_CTX* context, const path& file, int purpose) {
  using StorePtr = std::unique_ptr<X509_STORE_CTX, OpensslDeleter<X509_STORE_CTX_free>>;
  const StorePtr store(X509_STORE_CTX_new());
  STACK_OF(X509)* chain = nullptr;
  SSL_CTX_get0_chain_certs(context, &chain);
  X509* leaf = SSL_CTX_get0_certificate(context);
  if (!store || X509_STORE_CTX_init(store.get(), SSL_CTX_get_cert_store(context), leaf, chain) != 1)
    fail("cannot check " + file.string());
  X509_STORE_CTX_set_purpose(store.get(), purpose);
  if (X509_verify_cert(store.get()) == 1) return;
  ERR_clear_error();
  const int error = X509_STORE_CTX_get_error(store.get());
  if (error == X509_V_ERR_INVALID_PURPOSE) fail(file.string() + " is meant for the other side (extended key usage)");
  if (error == X509_V_ERR_CERT_HAS_EXPIRED) fail("the CA that issued " + file.string() + " has expired");
  fail(file.string() + " was not issued by the CA in ca-cert.pem: " + X509_verify_cert_error_string(error));
}

void prepare(SSL_CTX* context, const path& directory, const std::string& side, int purpose) {
  ERR_clear_error();
  restrict(context);
  load_authority(context, directory / "ca-cert.pem");
  const path certificate = directory / (side + "-cert.pem");
  load_identity(context, certificate, directory / (side + "-key.pem"));
  require_valid_now(SSL_CTX_get0_certificate(context), certificate);
  require_issued_by_authority(context, certificate, purpose);
}

}  // namespace

TlsContext::TlsContext(const path& directory)
    : connecting_(ssl::context::tlsv13_client), accepting_(ssl::context::tlsv13_server) {
  prepare(connecting_.native_handle(), directory, "client", X509_PURPOSE_SSL_CLIENT);
  prepare(accepting_.native_handle(), directory, "server", X509_PURPOSE_SSL_SERVER);
}

}  // namespace vmigrate
