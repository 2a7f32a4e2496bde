// SPDX-License-Identifier: GPL-2.0-or-later
#include "transport/pki.h"

#include <openssl/pem.h>
#include <sys/stat.h>

#include "base/error.h"
#include "tests/catch.h"
#include "tests/support/tls_pair.h"
#include "transport/openssl.h"

using namespace vmigrate;

namespace {

mode_t mode_of(const std::filesystem::path& file) {
  struct stat status {};
  REQUIRE(::stat(file.c_str(), &status) == 0);
  return status.st_mode & 07777;
}

X509Ptr load(const std::filesystem::path& file) {
  const BioPtr bio(BIO_new_file(file.c_str(), "r"));
  REQUIRE(bio);
  return X509Ptr(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
}

}  // namespace

TEST_CASE("keys are for their owner only", "[transport][pki]") {
  const TestPki pki;
  const auto tls = pki.host("alpha");
  CHECK(mode_of(pki.ca()) == 0700);
  CHECK(mode_of(pki.ca() / "ca-key.pem") == 0600);
  CHECK(mode_of(tls) == 0700);
  CHECK(mode_of(tls / "server-key.pem") == 0600);
  CHECK(mode_of(tls / "client-key.pem") == 0600);
  CHECK_FALSE(std::filesystem::exists(tls / "ca-key.pem"));
  for (const auto& entry : std::filesystem::directory_iterator(tls)) CHECK(entry.path().extension() == ".pem");
}

TEST_CASE("an authority is not replaced", "[transport][pki]") {
  const TestPki pki;
  CHECK_THROWS_AS(create_authority(pki.ca()), Error);
}

TEST_CASE("a certificate says who it is for and what it is for", "[transport][pki]") {
  const TestPki pki;
  const X509Ptr server = load(pki.host("alpha") / "server-cert.pem");
  const X509Ptr client = load(pki.host("alpha") / "client-cert.pem");
  CHECK(common_name_of(server.get()) == "alpha");
  CHECK(alternative_names_of(server.get()) == "DNS:alpha, IP:127.0.0.1, IP:127.0.0.2");
  CHECK(X509_get_extended_key_usage(server.get()) == XKU_SSL_SERVER);
  CHECK(X509_get_extended_key_usage(client.get()) == XKU_SSL_CLIENT);
  CHECK(X509_check_ca(server.get()) == 0);
  CHECK(X509_get_pathlen(load(pki.ca() / "ca-cert.pem").get()) == 0);
  CHECK(ASN1_INTEGER_cmp(X509_get0_serialNumber(server.get()), X509_get0_serialNumber(client.get())) != 0);
}

TEST_CASE("certificates can be issued again in place", "[transport][pki]") {
  const TestPki pki;
  const auto tls = pki.host("alpha");
  issue_certificates(pki.ca(), tls, {"alpha", {"DNS:alpha.example.org", "IP:fd00::2"}});
  CHECK(alternative_names_of(load(tls / "client-cert.pem").get()) == "DNS:alpha, DNS:alpha.example.org, IP:fd00::2");
  CHECK_NOTHROW(TlsContext(tls));
}

TEST_CASE("a name that is none gets no certificate", "[transport][pki]") {
  const TestPki pki;
  const TemporaryDirectory out;
  for (const char* host : {"", "a/b", "a\nb", "a b", "a,DNS:evil", "-a", "..", "a..b"}) {
    INFO(host);
    CHECK_THROWS_AS(issue_certificates(pki.ca(), out.path(), {host, {}}), Error);
  }
  for (const char* further : {"", "alpha", "DNS:", "DNS:a,IP:1.2.3.4", "IP:alpha", "URI:x", "email:a@b"}) {
    INFO(further);
    CHECK_THROWS_AS(issue_certificates(pki.ca(), out.path(), {"alpha", {further}}), Error);
  }
  CHECK(std::filesystem::is_empty(out.path()));
}
