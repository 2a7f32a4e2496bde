// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/error.h"

#include <array>
#include <cerrno>

namespace vmigrate {
namespace {

constexpr std::array<std::string_view, 34> kNames = {
    "none", "usage", "invalid_name", "same_host", "protocol_violation", "version_mismatch", "connect_failed",
    "not_tls", "tls_failed", "connection_lost", "timed_out", "cancelled", "unknown_container",
    "container_not_running", "rootfs_not_on_device", "unsupported_container", "already_exists", "no_space",
    "disk_full", "incompatible_host", "criu_missing", "busy", "copy_failed", "tracker_unavailable", "tracking_lost",
    "digest_mismatch", "not_converging", "freeze_timed_out", "checkpoint_failed", "restore_failed", "in_doubt",
    "internal", "not_authorised", "not_owner"};
static_assert(kNames.size() == static_cast<std::size_t>(kErrcLast) + 1);

class MigrateCategory final : public std::error_category {
 public:
  const char* name() const noexcept override { return "vmigrate"; }
  std::string message(int code) const override { return std::string(name_of(static_cast<Errc>(code))); }
};

std::string sentence_for(int saved_errno, std::string_view operation, std::string_view object) {
  std::string text(operation);
  if (!object.empty()) text.append(" ").append(object);
  return text.append(": ").append(std::generic_category().message(saved_errno));
}

}  // namespace

const std::error_category& migrate_category() noexcept {
  static const MigrateCategory category;
  return category;
}

std::string_view name_of(Errc code) noexcept {
  const auto index = static_cast<std::size_t>(code);
  return index < kNames.size() ? kNames[index] : "unknown";
}

Error::Error(Errc code, const std::string& sentence) : std::system_error(make_error_code(code)), sentence_(sentence) {}

Error::Error(int saved_errno, std::string_view operation, std::string_view object)
    : std::system_error(saved_errno, std::generic_category()),
      sentence_(sentence_for(saved_errno, operation, object)) {}

Errc Error::code_or(Errc otherwise) const noexcept {
  return code().category() == migrate_category() ? static_cast<Errc>(code().value()) : otherwise;
}

int check_syscall(long result, std::string_view operation, std::string_view object) {
  if (result < 0) throw Error(errno, operation, object);
  return static_cast<int>(result);
}

}  // namespace vmigrate
