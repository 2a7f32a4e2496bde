// SPDX-License-Identifier: GPL-2.0-or-later
#include "transport/tls_failure.h"

#include <openssl/err.h>
#include <openssl/sslerr.h>

namespace vmigrate {
namespace {

int sentence_index() {
  static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

std::string describe_refusal(int error, const X509* certificate, bool is_server) {
  const auto* role = is_server ? "client" : "server";
  switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return "its certificate expired on " + text_of(X509_get0_notAfter(certificate));
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return "its certificate is not valid before " + text_of(X509_get0_notBefore(certificate)) +
             " (compare the clocks of the two hosts)";
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
      return "its certificate is self-signed; it must be issued by the CA in our ca-cert.pem";
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      return "its certificate was issued by another CA than the one in our ca-cert.pem";
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      return "its certificate names " + alternative_names_of(certificate) + " and not the host we dialled";
    case X509_V_ERR_INVALID_PURPOSE:
      return std::string("its certificate is not meant for a TLS ") + role + " (extended key usage)";
    case X509_V_ERR_CERT_REVOKED:
      return "its certificate was revoked";
    default:
      return std::string("its certificate was not accepted: ") + X509_verify_cert_error_string(error);
  }
}

bool is_meant_for(X509* certificate, bool is_server) {
  // UINT32_MAX stands for "no extended key usage at all".
  const std::uint32_t usage = X509_get_extended_key_usage(certificate);
  return usage != UINT32_MAX && (usage & (is_server ? XKU_SSL_CLIENT : XKU_SSL_SERVER)) != 0;
}

}  // namespace

int judge_certificate(int is_accepted, X509_STORE_CTX* store) {
  auto* ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  X509* certificate = X509_STORE_CTX_get_current_cert(store);
  const bool is_server = SSL_is_server(ssl) == 1;
  if (is_accepted == 1 && X509_STORE_CTX_get_error_depth(store) == 0 && !is_meant_for(certificate, is_server)) {
    X509_STORE_CTX_set_error(store, X509_V_ERR_INVALID_PURPOSE);
    is_accepted = 0;
  }
  if (is_accepted == 1) return 1;
  if (auto* sentence = static_cast<std::string*>(SSL_get_ex_data(ssl, sentence_index())))
    *sentence = describe_refusal(X509_STORE_CTX_get_error(store), certificate, is_server);
  return 0;
}

void keep_refusal_in(SSL* ssl, std::string* sentence) { SSL_set_ex_data(ssl, sentence_index(), sentence); }

std::string distrust_in_alert(unsigned long error) {
  if (ERR_GET_LIB(error) != ERR_LIB_SSL) return {};
  switch (ERR_GET_REASON(error)) {
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED: return "certificate expired";
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED: return "certificate revoked";
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA: return "certificate issued by a CA it does not trust";
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE: return "certificate not meant for this use";
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE: return "certificate not acceptable (compare names and clocks)";
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN: return "certificate not acceptable";
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED: return "certificate missing";
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED: return "access denied";
    case SSL_R_TLSV1_ALERT_DECRYPT_ERROR: return "certificate does not fit its key";
    default: return {};
  }
}

std::string describe_handshake_error(unsigned long error) {
  if (ERR_GET_LIB(error) != ERR_LIB_SSL) return "the TLS handshake failed";
  switch (ERR_GET_REASON(error)) {
    case SSL_R_UNEXPECTED_EOF_WHILE_READING: return "it closed the connection during the TLS handshake";
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_BAD_PACKET_LENGTH:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_ENCRYPTED_LENGTH_TOO_LONG:
    case SSL_R_UNEXPECTED_MESSAGE: return "it does not speak TLS";
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_NO_PROTOCOLS_AVAILABLE:
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION: return "it does not speak TLS 1.3";
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: return "it showed no certificate";
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE: return "it shares no cipher suite with us";
    default: {
      const char* reason = ERR_reason_error_string(error);
      return std::string("the TLS handshake failed: ") + (reason != nullptr ? reason : "unknown reason");
    }
  }
}

}  // namespace vmigrate
