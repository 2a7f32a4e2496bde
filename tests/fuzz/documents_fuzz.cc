// SPDX-License-Identifier: GPL-2.0-or-later
// The JSON documents: nothing changes its value by being read, and words for `ip` stay single words.
#include "migrate/documents.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "migrate/inventory_text.h"
#include "migrate/rate_change.h"
#include "migrate/waybill.h"
#include "tests/fuzz/fuzz_targets.h"

namespace vmigrate::fuzz {
namespace {

using nlohmann::json;

/// The network of an offer, and the offer of a waybill, are documents within the document.
json opened(const std::string& key, const json& value) {
  const bool is_document = value.is_string() && (key == "network" || key == "offer");
  return is_document ? json::parse(value.get<std::string>()) : value;
}

/// Every field of `ours` is in `theirs` with the same value; fields that we do not know are ignored.
bool is_contained(const json& ours, const json& theirs) {
  if (ours.type() != theirs.type() && !(ours.is_number() && theirs.is_number())) return false;
  if (ours.is_object())
    return std::ranges::all_of(ours.items(), [&](const auto& field) {
      return theirs.contains(field.key()) &&
             is_contained(opened(field.key(), field.value()), opened(field.key(), theirs.at(field.key())));
    });
  if (ours.is_array())
    return ours.size() == theirs.size() && std::ranges::equal(ours, theirs, is_contained);
  return ours == theirs;
}

bool is_one_line(const std::string& text) {
  return std::ranges::all_of(text, [](char c) { return c >= 0x20 && c < 0x7f; });
}
bool is_word(const std::string& text) { return is_one_line(text) && text.find(' ') == std::string::npos; }

void check_words(const NetworkSpec& network) {
  MIGRATE_ASSERT(is_word(network.namespace_name));
  for (const auto& one : network.interfaces) {
    for (const auto* text : {&one.name, &one.mac, &one.host_name, &one.bridge}) MIGRATE_ASSERT(is_word(*text));
    MIGRATE_ASSERT(std::ranges::all_of(one.addresses, is_word));
  }
  MIGRATE_ASSERT(std::ranges::all_of(network.routes, is_one_line));
  MIGRATE_ASSERT(std::ranges::all_of(network.neighbours, is_one_line));
}

void check_more(const Offer& offer) { check_words(offer.network); }
void check_more(const NetworkSpec& network) { check_words(network); }
void check_more(const Waybill& waybill) { check_words(waybill.offer.network); }
template <typename Document>
void check_more(const Document&) {}

template <typename Read>
void check(const std::string& text, Errc refusal, const Read& read) {
  const auto document = accepted({refusal}, [&] { return read(text); });
  if (!document) return;
  const std::string again = to_json(*document);
  MIGRATE_ASSERT(is_contained(json::parse(again), json::parse(text)));
  MIGRATE_ASSERT(to_json(read(again)) == again);
  check_more(*document);
}

}  // namespace

void documents(Bytes input) {
  if (input.empty()) return;
  const std::string text(reinterpret_cast<const char*>(input.data()) + 1, input.size() - 1);
  switch (static_cast<char>(input[0])) {
    case 'o': return check(text, Errc::protocol_violation, offer_from_json);
    case 'a': return check(text, Errc::protocol_violation, answer_from_json);
    case 'r': return check(text, Errc::protocol_violation, request_from_json);
    case 'n': return check(text, Errc::protocol_violation, network_spec_from_json);
    case 'w': return check(text, Errc::internal, waybill_from_json);
    case 't': return check(text, Errc::protocol_violation, rate_change_from_json);
    case 'i': return check(text, Errc::protocol_violation, inventory_from_json);
    default: return;
  }
}

}  // namespace vmigrate::fuzz
