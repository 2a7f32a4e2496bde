// SPDX-License-Identifier: GPL-2.0-or-later
// A small certificate authority, so that a newcomer needs no openssl incantation.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace vmigrate {

struct CertificateRequest {
  std::string host;                       ///< the common name, and a DNS or IP SAN
  std::vector<std::string> alternatives;  ///< further SANs: "DNS:name" or "IP:address"
  int valid_days = 825;                   ///< from now; negative makes one that has expired, for tests
};

/// Makes ca-cert.pem and ca-key.pem (mode 0600) in `ca_directory`, created with mode 0700 if needed. Throws
/// Error(Errc::already_exists) when there is a CA already: replacing it would disown every host.
void create_authority(const std::filesystem::path& ca_directory);

/// Writes ca-cert.pem, server-cert.pem, server-key.pem, client-cert.pem and client-key.pem for one host into
/// `tls_directory` (created 0700; keys 0600), each replaced whole (tmp + rename). Throws Error: usage for a name that
/// cannot stand in a certificate, tls_failed when the authority cannot be read.
void issue_certificates(const std::filesystem::path& ca_directory, const std::filesystem::path& tls_directory,
                        const CertificateRequest& request);

}  // namespace vmigrate
