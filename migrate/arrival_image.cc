// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/arrival_image.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>  // renameat2
#include <ctime>

#include "base/durable.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "engine/device_volume.h"
#include "engine/image_sink.h"

namespace vmigrate {

namespace fs = std::filesystem;

namespace {

constexpr std::chrono::seconds kPartialKeptMax = std::chrono::hours(7 * 24);   // the source chose the hours

}  // namespace

ArrivalImage::ArrivalImage(const StateDir& state, Waybill& waybill)
    : state_(state), waybill_(waybill), path_(state.image(waybill.offer.container)) {}

std::optional<KeptCopy> ArrivalImage::find_base(const StateDir& state, const Offer& offer) {
  if (!offer.options.resumes) return std::nullopt;
  return vmigrate::find_base(state.kept_copies(), offer.container, offer.volume_bytes,
                             state.image(offer.container).parent_path());
}

// --- coming -------------------------------------------------------------------------------------------------------

void ArrivalImage::begin() {
  waybill_.base = find_base(state_, waybill_.offer);
  state_.waybills().write(waybill_);
  failpoint("arrival", "base", "after_note");
}

std::unique_ptr<BlockSink> ArrivalImage::make(asio::thread_pool& pool) {
  const VolumeGeometry geometry{waybill_.offer.volume_bytes};
  if (waybill_.base && take_base()) return open_image_sink(pool, path_, geometry);
  if (waybill_.base) {
    // A new image must not pass for a base after a crash.
    waybill_.base.reset();
    state_.waybills().write(waybill_);
  }
  auto sink = create_image_sink(pool, path_, geometry, waybill_.offer.used_bytes);
  is_there_ = true;
  return sink;
}

/// Once its new name is on the disk its note goes: from here on it is our image, and kept as such. False if somebody
/// has removed it meanwhile, it is on another mount after all, or the file system cannot rename without replacing:
/// what stands in the way is not ours.
bool ArrivalImage::take_base() {
  if (::renameat2(AT_FDCWD, waybill_.base->image.c_str(), AT_FDCWD, path_.c_str(), RENAME_NOREPLACE) != 0) {
    if (errno == ENOENT || errno == EXDEV || errno == EINVAL) return false;
    if (errno == EEXIST) throw Error(Errc::already_exists, path_.native() + " exists already");
    throw Error(errno, "rename", waybill_.base->image.native());
  }
  is_there_ = true;
  failpoint("arrival", "base", "after_rename");
  sync_to_disk(path_.parent_path());
  forget_base();
  failpoint("arrival", "base", "after_forget");
  return true;
}

/// A note that stays names no image any more, and goes when its time is over.
void ArrivalImage::forget_base() const try {
  if (waybill_.base) state_.kept_copies().remove(*waybill_.base);
} catch (const std::exception& failure) {
  log(LogLevel::warn, "container=" + waybill_.offer.container + " event=left_behind reason=" + failure.what());
}

std::unique_ptr<BlockSource> ArrivalImage::base(asio::thread_pool& pool) const {
  if (!waybill_.base) return nullptr;
  return open_source(pool, path_);
}

void ArrivalImage::adopt() {
  is_there_ = fs::exists(path_);
}

// --- going --------------------------------------------------------------------------------------------------------

void ArrivalImage::leave(Leftovers leftovers) {
  // A base that was not taken yet is still what its note says.
  if (is_there_) forget_base();
  try {
    if (is_worth_keeping(leftovers)) return keep();
  } catch (const std::exception& failure) {
    log(LogLevel::warn, "container=" + waybill_.offer.container + " event=not_kept reason=" + failure.what());
  }
  try {
    remove();
  } catch (const std::exception& failure) {
    log(LogLevel::warn, "container=" + waybill_.offer.container + " event=left_behind reason=" + failure.what());
  }
}

bool ArrivalImage::is_worth_keeping(Leftovers leftovers) const {
  const bool may_stay =
      leftovers == Leftovers::partial_copy || (leftovers == Leftovers::base && waybill_.base.has_value());
  if (!may_stay || waybill_.offer.options.keep_source == std::chrono::seconds(0)) return false;
  return allocated_bytes(is_there_ ? path_ : as_partial_copy().image) >= kBaseBytesMin;
}

/// The note first: a file that nobody knows of would stay for ever, a note without a file goes when its time is over.
void ArrivalImage::keep() const {
  const KeptCopies copies = state_.kept_copies();
  const KeptCopy kept = as_partial_copy();
  copies.write(kept);
  failpoint("arrival", "partial", "after_note");
  if (is_there_) fs::rename(path_, kept.image);
  failpoint("arrival", "partial", "after_rename");
  sync_to_disk(path_.parent_path());
  for (const KeptCopy& other : copies.list())
    if (other.is_partial && other.container == kept.container && other.migration != kept.migration)
      copies.remove(other);
  failpoint("arrival", "partial", "after_all");
  log(LogLevel::info, "container=" + kept.container + " event=partial_copy_kept image=" + kept.image.native());
}

/// Also what we, or a predecessor that died, failed to keep.
void ArrivalImage::remove() const {
  if (is_there_) fs::remove(path_);
  state_.kept_copies().remove(as_partial_copy());
}

KeptCopy ArrivalImage::as_partial_copy() const {
  const std::string migration = to_hex(waybill_.migration);
  const std::chrono::seconds kept_for = std::min(waybill_.offer.options.keep_source, kPartialKeptMax);
  return {.container = waybill_.offer.container,
          .migration = waybill_.migration,
          .image = path_.native() + ".partial-" + migration,
          .until = static_cast<std::uint64_t>(std::time(nullptr) + kept_for.count()),
          .is_partial = true};
}

}  // namespace vmigrate
