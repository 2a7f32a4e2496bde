// SPDX-License-Identifier: GPL-2.0-or-later
// What is wrong with our own certificates is said at start, naming the file.
#include "transport/tls_context.h"

#include <fstream>

#include "tests/catch.h"
#include "tests/support/tls_pair.h"

using namespace vmigrate;

namespace {

std::string complaint_about(const std::filesystem::path& directory) {
  try {
    const TlsContext context(directory);
  } catch (const Error& error) {
    CHECK(error.code() == Errc::tls_failed);
    return error.what();
  }
  return "none";
}

bool mentions(const std::string& text, const std::string& part) {
  INFO(text);
  CHECK(text.find(part) != std::string::npos);
  return true;
}

void replace(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::filesystem::copy_file(from, to, std::filesystem::copy_options::overwrite_existing);
}

}  // namespace

TEST_CASE("a host with good certificates has nothing to complain about", "[transport][tls]") {
  const TestPki pki;
  CHECK(complaint_about(pki.host("alpha")) == "none");
}

TEST_CASE("a missing file is named", "[transport][tls]") {
  for (const char* file : {"ca-cert.pem", "server-cert.pem", "server-key.pem", "client-cert.pem", "client-key.pem"}) {
    const TestPki pki;
    const auto tls = pki.host("alpha");
    std::filesystem::remove(tls / file);
    mentions(complaint_about(tls), "cannot read " + (tls / file).string() + ": No such file or directory");
  }
}

TEST_CASE("a file that is no certificate is named", "[transport][tls]") {
  const TestPki pki;
  const auto tls = pki.host("alpha");
  std::ofstream(tls / "server-cert.pem") << "hello\n";
  mentions(complaint_about(tls), "server-cert.pem holds no certificate");
}

TEST_CASE("an expired certificate is named with its date", "[transport][tls]") {
  const TestPki pki;
  mentions(complaint_about(pki.host("alpha", -1)), "client-cert.pem expired on 20");
}

TEST_CASE("a key of another certificate is named", "[transport][tls]") {
  const TestPki pki;
  const auto tls = pki.host("alpha");
  replace(pki.host("beta") / "server-key.pem", tls / "server-key.pem");
  mentions(complaint_about(tls), "server-key.pem is not the key of");
}

TEST_CASE("a certificate of another authority is named", "[transport][tls]") {
  const TestPki pki;
  const TestPki foreign;
  const auto tls = pki.host("alpha");
  replace(foreign.ca() / "ca-cert.pem", tls / "ca-cert.pem");
  mentions(complaint_about(tls), "client-cert.pem was not issued by the CA in ca-cert.pem");
}

TEST_CASE("a server's certificate in the client's place is named", "[transport][tls]") {
  const TestPki pki;
  const auto tls = pki.host("alpha");
  replace(tls / "server-cert.pem", tls / "client-cert.pem");
  replace(tls / "server-key.pem", tls / "client-key.pem");
  mentions(complaint_about(tls), "client-cert.pem is meant for the other side");
}
