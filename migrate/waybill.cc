// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/waybill.h"

#include <array>
#include <nlohmann/json.hpp>
#include <span>

#include "base/log.h"

namespace vmigrate {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::size_t kWaybillBytesMax = 1 << 20;
constexpr const char* kUnfinished = ".new";

std::string read_text(const DiskFile& file) {
  std::string text;
  std::array<char, 4096> piece{};
  std::size_t got = piece.size();
  while (got == piece.size()) {
    got = file.read(text.size(), std::as_writable_bytes(std::span(piece)));
    text.append(piece.data(), got);
    if (text.size() > kWaybillBytesMax) throw Error(Errc::internal, "it is too long for a waybill");
  }
  return text;
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
  const fs::path path = directory_ / waybill.offer.container;
  const fs::path unfinished = path.native() + kUnfinished;
  const std::string text = to_json(waybill);
  const auto file = disk_->create(unfinished);
  file->write(0, std::as_bytes(std::span(text)));
  file->sync();
  disk_->rename(unfinished, path);
  disk_->sync_names(directory_);
}

void WaybillDir::remove(const std::string& container) const {
  if (disk_->remove(directory_ / container)) disk_->sync_names(directory_);
}

std::vector<Waybill> WaybillDir::list() const {
  std::vector<Waybill> waybills;
  for (const std::string& name : disk_->list(directory_)) {
    if (name.ends_with(kUnfinished)) continue;
    try {
      const auto file = disk_->open(directory_ / name);
      if (file) waybills.push_back(waybill_from_json(read_text(*file)));
    } catch (const std::exception& failure) {
      log(LogLevel::error, "event=bad_waybill path=" + (directory_ / name).native() + " reason=" + failure.what());
    }
  }
  return waybills;
}

}  // namespace vmigrate
