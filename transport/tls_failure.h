// SPDX-License-Identifier: GPL-2.0-or-later
// Why two hosts do not trust each other, in words an operator can act on.
#pragma once

#include <string>

#include "transport/openssl.h"

namespace vmigrate {

/// Called by OpenSSL for each certificate of a chain: adds to its own checks that the leaf says what it is meant for
/// (OpenSSL accepts a certificate without extended key usage for anything) and keeps the sentence for a refusal.
int judge_certificate(int is_accepted, X509_STORE_CTX* store);

/// Gives `ssl` a place for the sentence; it must outlive `ssl`.
void keep_refusal_in(SSL* ssl, std::string* sentence);

/// An alert of the peer that means "I do not trust you", in words: "certificate expired". Empty for any other error.
/// `error` is an entry of OpenSSL's error queue.
std::string distrust_in_alert(unsigned long error);

/// Why a handshake ended, from the entry of OpenSSL's error queue: "it does not speak TLS".
std::string describe_handshake_error(unsigned long error);

}  // namespace vmigrate
