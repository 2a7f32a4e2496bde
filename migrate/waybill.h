// SPDX-License-Identifier: GPL-2.0-or-later
// The paper that travels with a container: what an agent must know to end a migration that its predecessor began.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/cpu_throttle.h"
#include "engine/mounted_device.h"
#include "migrate/documents.h"
#include "migrate/kept_copy.h"
#include "migrate/note_dir.h"

namespace vmigrate {

enum class Side { source, destination };

/// One unfinished migration on one host. The journal says who may run the container, the waybill where its things are.
struct Waybill {
  Side side = Side::source;
  MigrationId migration;
  std::string peer;                     ///< the other host, for people
  std::string peer_agent;               ///< where Ask reaches it, "HOST:PORT"; empty if it has no agent
  Offer offer;
  std::filesystem::path bundle;         ///< source: the directory of config.json
  MountedDevice device;                 ///< source: what carries the root file system
  std::optional<CpuLimit> cpu_limit;    ///< source: what throttling changes, noted before it does
  std::optional<KeptCopy> base;         ///< destination: what becomes the image, noted before it does
};

std::string to_json(const Waybill& waybill);
/// Throws Error(Errc::internal) for anything that is missing, of another type, or no word that we know.
Waybill waybill_from_json(const std::string& text);

/// The waybills of one host: a file for each container, named by its id. Whoever writes or removes one holds the
/// container's journal.
class WaybillDir {
 public:
  explicit WaybillDir(std::filesystem::path directory, Disk& disk = real_disk())
      : notes_(std::move(directory), disk) {}

  /// On stable storage when it returns. Throws Error.
  void write(const Waybill& waybill) const;
  /// Idempotent. Throws Error when it is not known to be gone.
  void remove(const std::string& container) const;
  /// Every waybill that can be read; one that cannot is logged and passed over: nothing is started because of it.
  std::vector<Waybill> list() const;
  /// The containers whose waybill cannot be read.
  std::vector<std::string> damaged() const;

 private:
  NoteDir notes_;
};

}  // namespace vmigrate
