// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/waybill.h"

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace vmigrate {
namespace {

using nlohmann::json;

Side side_called(const std::string& word) {
  if (word != "source" && word != "destination") throw Error(Errc::internal, "\"" + word + "\" is no side");
  return word == "source" ? Side::source : Side::destination;
}

json encode(const CpuLimit& limit) {
  return {{"directory", limit.directory.native()}, {"quota", limit.quota}, {"period", limit.period}};
}

CpuLimit decode_cpu_limit(const json& in) {
  return {in.at("directory").get<std::string>(), in.at("quota"), in.at("period")};
}

Waybill waybill_named(const std::string& container, const std::string& text) {
  Waybill waybill = waybill_from_json(text);
  if (waybill.offer.container != container)
    throw Error(Errc::internal, "it is the waybill of " + waybill.offer.container);
  return waybill;
}

}  // namespace

std::string to_json(const Waybill& waybill) {
  json document = {{"side", waybill.side == Side::source ? "source" : "destination"},
                   {"migration", to_hex(waybill.migration)},
                   {"peer", waybill.peer},
                   {"peer_agent", waybill.peer_agent},
                   {"offer", to_json(waybill.offer)},
                   {"bundle", waybill.bundle.native()},
                   {"device", waybill.device.device.native()},
                   {"mount_point", waybill.device.mount_point.native()},
                   {"file_system", waybill.device.file_system},
                   {"image", waybill.device.image.native()},
                   {"cpu_limit", waybill.cpu_limit ? encode(*waybill.cpu_limit) : json(nullptr)}};
  if (waybill.base) document["base"] = to_json(*waybill.base);
  return document.dump();
}

Waybill waybill_from_json(const std::string& text) try {
  const json document = json::parse(text);
  Waybill waybill;
  waybill.side = side_called(document.at("side"));
  waybill.migration = bits128_from_hex(document.at("migration").get<std::string>());
  waybill.peer = document.at("peer");
  waybill.peer_agent = document.at("peer_agent");
  waybill.offer = offer_from_json(document.at("offer").get<std::string>());
  waybill.bundle = document.at("bundle").get<std::string>();
  waybill.device = {document.at("device").get<std::string>(), document.at("mount_point").get<std::string>(),
                    document.at("file_system"), document.at("image").get<std::string>()};
  if (const json& limit = document.at("cpu_limit"); !limit.is_null()) waybill.cpu_limit = decode_cpu_limit(limit);
  // Those of earlier versions do not have it.
  if (const auto base = document.find("base"); base != document.end() && !base->is_null())
    waybill.base = kept_copy_from_json(base->get<std::string>());
  return waybill;
} catch (const json::exception& failure) {
  throw Error(Errc::internal, std::string("this is no waybill: ") + failure.what());
} catch (const Error& failure) {
  throw Error(Errc::internal, std::string("this is no waybill: ") + failure.what());
}

void WaybillDir::write(const Waybill& waybill) const { notes_.write({waybill.offer.container, to_json(waybill)}); }

void WaybillDir::remove(const std::string& container) const { notes_.remove(container); }

std::vector<Waybill> WaybillDir::list() const {
  std::vector<Waybill> waybills;
  notes_.for_each([&](const Note& note) { waybills.push_back(waybill_named(note.name, note.text)); },
                  log_bad_note("waybill"));
  return waybills;
}

std::vector<std::string> WaybillDir::damaged() const {
  std::vector<std::string> containers;
  notes_.for_each([](const Note& note) { waybill_named(note.name, note.text); },
                  [&](const std::string& container, const std::exception&) { containers.push_back(container); });
  return containers;
}

}  // namespace vmigrate
