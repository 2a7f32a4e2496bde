// SPDX-License-Identifier: GPL-2.0-or-later
#include "transport/openssl.h"

#include <arpa/inet.h>
#include <openssl/err.h>

#include <algorithm>
#include <array>
#include <ctime>

namespace vmigrate {
namespace {

std::string printable(const unsigned char* bytes, int length) {
  std::string text(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(std::max(length, 0)));
  std::ranges::replace_if(text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
  return text;
}

std::string address_text(const ASN1_OCTET_STRING* address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  const int family = ASN1_STRING_length(address) == 4 ? AF_INET : AF_INET6;
  if (family == AF_INET6 && ASN1_STRING_length(address) != 16) return "?";
  ::inet_ntop(family, ASN1_STRING_get0_data(address), text.data(), text.size());
  return text.data();
}

struct AlternativeName {
  const char* kind;
  std::string text;
};

std::vector<AlternativeName> alternative_names(const X509* certificate) {
  const NamesPtr names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  std::vector<AlternativeName> found;
  for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type == GEN_DNS)
      found.push_back({"DNS", printable(ASN1_STRING_get0_data(name->d.dNSName), ASN1_STRING_length(name->d.dNSName))});
    else if (name->type == GEN_IPADD)
      found.push_back({"IP", address_text(name->d.iPAddress)});
  }
  return found;
}

}  // namespace

std::string take_openssl_error() {
  const unsigned long first = ERR_get_error();
  ERR_clear_error();
  if (first == 0) return {};
  const char* reason = ERR_reason_error_string(first);
  return reason != nullptr ? reason : "OpenSSL error " + std::to_string(first);
}

std::string common_name_of(const X509* certificate) {
  const X509_NAME* subject = X509_get_subject_name(certificate);
  const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (at < 0) return {};
  const ASN1_STRING* value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));
  return printable(ASN1_STRING_get0_data(value), ASN1_STRING_length(value));
}

std::vector<std::string> certified_names_of(const X509* certificate) {
  std::vector<std::string> names;
  for (const AlternativeName& name : alternative_names(certificate)) names.push_back(name.text);
  return names;
}

std::string alternative_names_of(const X509* certificate) {
  std::string text;
  for (const AlternativeName& name : alternative_names(certificate))
    text.append(text.empty() ? "" : ", ").append(name.kind).append(":").append(name.text);
  return text;
}

std::string text_of(const ASN1_TIME* time) {
  tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return "an unreadable date";
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S UTC", &parts);
  return text.data();
}

}  // namespace vmigrate
