// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/waybill.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/durable.h"
#include "base/log.h"

namespace vmigrate {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::uintmax_t kWaybillBytesMax = 1 << 20;
constexpr const char* kUnfinished = ".new";

std::string read_text(const fs::path& path) {
  if (fs::file_size(path) > kWaybillBytesMax) throw Error(Errc::internal, path.native() + " is too long for a waybill");
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

}  // namespace

std::string to_json(const Waybill& waybill) {
  const json document = {{"side", waybill.side == Side::source ? "source" : "destination"},
                         {"migration", to_hex(waybill.migration)},
                         {"peer", waybill.peer},
                         {"peer_agent", waybill.peer_agent},
                         {"offer", to_json(waybill.offer)},
                         {"bundle", waybill.bundle.native()},
                         {"device", waybill.device.device.native()},
                         {"mount_point", waybill.device.mount_point.native()},
                         {"file_system", waybill.device.file_system},
                         {"image", waybill.device.image.native()}};
  return document.dump();
}

Waybill waybill_from_json(const std::string& text) try {
  const json document = json::parse(text);
  Waybill waybill;
  waybill.side = document.at("side") == "source" ? Side::source : Side::destination;
  waybill.migration = bits128_from_hex(document.at("migration").get<std::string>());
  waybill.peer = document.at("peer");
  waybill.peer_agent = document.at("peer_agent");
  waybill.offer = offer_from_json(document.at("offer").get<std::string>());
  waybill.bundle = document.at("bundle").get<std::string>();
  waybill.device = {document.at("device").get<std::string>(), document.at("mount_point").get<std::string>(),
                    document.at("file_system"), document.at("image").get<std::string>()};
  return waybill;
} catch (const json::exception& failure) {
  throw Error(Errc::internal, std::string("this is no waybill: ") + failure.what());
}

void WaybillDir::write(const Waybill& waybill) const {
  fs::create_directories(directory_);
  const fs::path path = directory_ / waybill.offer.container;
  const fs::path unfinished = path.native() + kUnfinished;
  std::ofstream file(unfinished, std::ios::trunc);
  file << to_json(waybill) << std::flush;
  if (!file) throw Error(errno, "cannot write", unfinished.native());
  sync_to_disk(unfinished);
  fs::rename(unfinished, path);
  sync_to_disk(directory_);
}

void WaybillDir::remove(const std::string& container) const {
  if (fs::remove(directory_ / container)) sync_to_disk(directory_);
}

std::vector<Waybill> WaybillDir::list() const {
  std::vector<Waybill> waybills;
  std::error_code no_directory;
  for (const auto& entry : fs::directory_iterator(directory_, no_directory)) {
    if (entry.path().extension() == kUnfinished) continue;
    try {
      waybills.push_back(waybill_from_json(read_text(entry.path())));
    } catch (const std::exception& failure) {
      log(LogLevel::error, "event=bad_waybill path=" + entry.path().native() + " reason=" + failure.what());
    }
  }
  return waybills;
}

}  // namespace vmigrate
