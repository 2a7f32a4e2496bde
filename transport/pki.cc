// SPDX-License-Identifier: GPL-2.0-or-later
#include "transport/pki.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>

#include <boost/asio/ip/address.hpp>

#include "base/error.h"
#include "base/unique_fd.h"
#include "transport/openssl.h"

namespace vmigrate {
namespace {

using std::filesystem::path;

constexpr int kAuthorityDays = 3650;
constexpr long kSecondsPerDay = 24 * 3600;
constexpr long kClockSkewSeconds = 300;  // a peer whose clock is behind must accept what we issue now
constexpr std::size_t kCommonNameBytesMax = 64;
constexpr std::size_t kHostBytesMax = 253;
constexpr mode_t kKeyMode = 0600;
constexpr mode_t kCertificateMode = 0644;

[[noreturn]] void fail(const std::string& sentence) {
  const std::string detail = take_openssl_error();
  throw Error(Errc::tls_failed, sentence + (detail.empty() ? "" : " (" + detail + ")"));
}

void require(bool holds, const char* what) {
  if (!holds) fail(std::string("cannot make a certificate: ") + what);
}

// --- names -----------------------------------------------------------------------------------------------------------

bool is_address(const std::string& name) {
  boost::system::error_code error;
  boost::asio::ip::make_address(name, error);
  return !error;
}

bool is_dns_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

bool is_dns_name(const std::string& name) {
  return !name.empty() && name.size() <= kHostBytesMax && name.front() != '-' && name.front() != '.' &&
         name.find("..") == std::string::npos && std::ranges::all_of(name, is_dns_character);
}

/// As OpenSSL's configuration syntax wants it. Only checked names get here, so no comma can add a name.
std::string alternative_of(const std::string& host) {
  if (is_address(host)) return "IP:" + host;
  if (is_dns_name(host)) return "DNS:" + host;
  throw Error(Errc::usage, "\"" + host + "\" is neither a host name nor an IP address");
}

std::string checked_alternative(const std::string& text) {
  const auto colon = text.find(':');
  const std::string kind = text.substr(0, colon);
  const std::string name = colon == std::string::npos ? "" : text.substr(colon + 1);
  const bool is_good = (kind == "DNS" && is_dns_name(name)) || (kind == "IP" && is_address(name));
  if (!is_good) throw Error(Errc::usage, "\"" + text + "\" is not DNS:name or IP:address");
  return text;
}

std::string alternatives_of(const CertificateRequest& request) {
  std::string all = alternative_of(request.host);
  for (const auto& further : request.alternatives) {
    const std::string checked = checked_alternative(further);
    if (checked != all) all += "," + checked;
  }
  return all;
}

// --- certificates
// ------------------------------------------------------------------------------------------------------

struct Issued {
  X509Ptr certificate;
  KeyPtr key;
};

struct Profile {
  std::string common_name;
  long not_before_seconds;  ///< relative to now
  long not_after_seconds;
};

void set_serial(X509* certificate) {
  std::array<unsigned char, 16> random{};
  require(RAND_bytes(random.data(), random.size()) == 1, "no random numbers");
  random[0] = static_cast<unsigned char>((random[0] & 0x7f) | 0x40);  // positive and always 16 bytes long
  const std::unique_ptr<BIGNUM, OpensslDeleter<BN_free>> number(BN_bin2bn(random.data(), random.size(), nullptr));
  require(number && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr, "no serial");
}

Issued make_unsigned(const Profile& profile) {
  Issued made{X509Ptr(X509_new()), KeyPtr(EVP_EC_gen("P-256"))};
  require(made.certificate && made.key, "no key");
  X509* certificate = made.certificate.get();
  set_serial(certificate);
  const auto* name = reinterpret_cast<const unsigned char*>(profile.common_name.c_str());
  const bool is_set = X509_set_version(certificate, X509_VERSION_3) == 1 &&
                      X509_set_pubkey(certificate, made.key.get()) == 1 &&
                      X509_gmtime_adj(X509_getm_notBefore(certificate), profile.not_before_seconds) != nullptr &&
                      X509_gmtime_adj(X509_getm_notAfter(certificate), profile.not_after_seconds) != nullptr &&
                      X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8, name, -1, -1,
                                                 0) == 1;
  require(is_set, "its fields");
  return made;
}

void add_extension(X509* certificate, const X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, const_cast<X509*>(issuer), certificate, nullptr, nullptr, 0);
  using ExtensionPtr = std::unique_ptr<X509_EXTENSION, OpensslDeleter<X509_EXTENSION_free>>;
  const ExtensionPtr extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  require(extension && X509_add_ext(certificate, extension.get(), -1) == 1, value.c_str());
}

void sign(X509* certificate, const X509* issuer, EVP_PKEY* key) {
  require(X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) == 1, "its issuer");
  add_extension(certificate, issuer, NID_subject_key_identifier, "hash");
  add_extension(certificate, issuer, NID_authority_key_identifier, "keyid:always");
  require(X509_sign(certificate, key, EVP_sha256()) > 0, "its signature");
}

Issued make_authority() {
  Issued made = make_unsigned({"vmigrate CA", -kClockSkewSeconds, kAuthorityDays * kSecondsPerDay});
  X509* certificate = made.certificate.get();
  add_extension(certificate, certificate, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
  add_extension(certificate, certificate, NID_key_usage, "critical,keyCertSign,cRLSign");
  sign(certificate, certificate, made.key.get());
  return made;
}

Issued make_leaf(const Issued& authority, const CertificateRequest& request, const char* usage) {
  const long not_after = request.valid_days * kSecondsPerDay;
  const long not_before = std::min(-kClockSkewSeconds, not_after - kSecondsPerDay);
  Issued made = make_unsigned({request.host.substr(0, kCommonNameBytesMax), not_before, not_after});
  X509* certificate = made.certificate.get();
  add_extension(certificate, authority.certificate.get(), NID_basic_constraints, "critical,CA:FALSE");
  add_extension(certificate, authority.certificate.get(), NID_key_usage, "critical,digitalSignature");
  add_extension(certificate, authority.certificate.get(), NID_ext_key_usage, usage);
  add_extension(certificate, authority.certificate.get(), NID_subject_alt_name, alternatives_of(request));
  sign(certificate, authority.certificate.get(), authority.key.get());
  return made;
}

// --- files
// -------------------------------------------------------------------------------------------------------------

std::string pem_of(BIO* bio) {
  char* data = nullptr;
  const long length = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(length)};
}

std::string pem_of(const X509* certificate) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  require(PEM_write_bio_X509(bio.get(), certificate) == 1, "PEM");
  return pem_of(bio.get());
}

std::string pem_of(const EVP_PKEY* key) {
  const BioPtr bio(BIO_new(BIO_s_secmem()));
  require(PEM_write_bio_PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1, "PEM");
  return pem_of(bio.get());
}

void make_private_directory(const path& directory) {
  std::filesystem::create_directories(directory.parent_path().empty() ? "." : directory.parent_path());
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) throw Error(errno, "mkdir", directory.string());
}

void sync_directory(const path& directory) {
  const UniqueFd fd(
      check_syscall(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), "open", directory.string()));
  check_syscall(::fsync(fd.get()), "fsync", directory.string());
}

void write_all(int fd, std::string_view text, const path& file) {
  while (!text.empty()) {
    const auto written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw Error(errno, "write", file.string());
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

/// Old or new, never half: a temporary file, fsync, rename. The mode holds from the first byte on.
void replace_file(const path& file, std::string_view text, mode_t mode) {
  const path temporary = file.string() + ".tmp";
  ::unlink(temporary.c_str());
  const UniqueFd fd(check_syscall(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode),
                                  "open", temporary.string()));
  check_syscall(::fchmod(fd.get(), mode), "fchmod", temporary.string());
  write_all(fd.get(), text, temporary);
  check_syscall(::fsync(fd.get()), "fsync", temporary.string());
  check_syscall(::rename(temporary.c_str(), file.c_str()), "rename", temporary.string());
}

/// The key first: a certificate whose key is missing looks whole and is not.
void write_pair(const path& directory, const std::string& side, const Issued& issued) {
  replace_file(directory / (side + "-key.pem"), pem_of(issued.key.get()), kKeyMode);
  replace_file(directory / (side + "-cert.pem"), pem_of(issued.certificate.get()), kCertificateMode);
}

BioPtr open_pem(const path& file) {
  BioPtr bio(BIO_new_file(file.c_str(), "r"));
  if (bio) return bio;
  const int saved_errno = errno;
  ERR_clear_error();
  throw Error(Errc::tls_failed, "cannot read " + file.string() + ": " + std::generic_category().message(saved_errno));
}

Issued load_authority(const path& directory) {
  const path certificate_file = directory / "ca-cert.pem";
  const path key_file = directory / "ca-key.pem";
  const BioPtr certificate_bio = open_pem(certificate_file);
  const BioPtr key_bio = open_pem(key_file);
  Issued authority{X509Ptr(PEM_read_bio_X509(certificate_bio.get(), nullptr, nullptr, nullptr)),
                   KeyPtr(PEM_read_bio_PrivateKey(key_bio.get(), nullptr, nullptr, nullptr))};
  if (!authority.certificate) fail(certificate_file.string() + " holds no certificate");
  if (!authority.key) fail(key_file.string() + " holds no private key");
  if (X509_check_private_key(authority.certificate.get(), authority.key.get()) != 1)
    fail(key_file.string() + " is not the key of " + certificate_file.string());
  return authority;
}

}  // namespace

void create_authority(const path& ca_directory) {
  for (const char* name : {"ca-cert.pem", "ca-key.pem"})
    if (std::filesystem::exists(ca_directory / name))
      throw Error(Errc::already_exists, (ca_directory / name).string() +
                                            " exists; a new CA would disown every host that trusts this one");
  const Issued authority = make_authority();
  make_private_directory(ca_directory);
  write_pair(ca_directory, "ca", authority);
  sync_directory(ca_directory);
}

void issue_certificates(const path& ca_directory, const path& tls_directory, const CertificateRequest& request) {
  const Issued authority = load_authority(ca_directory);
  const Issued server = make_leaf(authority, request, "serverAuth");
  const Issued client = make_leaf(authority, request, "clientAuth");
  make_private_directory(tls_directory);
  write_pair(tls_directory, "server", server);
  write_pair(tls_directory, "client", client);
  replace_file(tls_directory / "ca-cert.pem", pem_of(authority.certificate.get()), kCertificateMode);
  sync_directory(tls_directory);
}

}  // namespace vmigrate
