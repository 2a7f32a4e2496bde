// SPDX-License-Identifier: GPL-2.0-or-later
// Failures: a code to decide by, and a sentence for the person who reads it.
#pragma once

#include <string>
#include <string_view>
#include <system_error>

namespace vmigrate {

/// Failures this program gives a name to. Failures of the kernel keep their errno (std::generic_category).
/// The numbers are the ones sent in Refuse and Abort messages and never change their meaning; zero is never valid.
enum class Errc {
  usage = 1,                ///< the request itself makes no sense
  invalid_name,             ///< not a name that a container can have
  same_host,                ///< SRC equal to DST
  protocol_violation,       ///< the peer sent bytes that docs/protocol.md forbids
  version_mismatch,         ///< no protocol version in common
  connect_failed,           ///< nobody answers at the address
  not_tls,                  ///< what answers does not speak TLS 1.3: an older TLS, plain text, garbage
  tls_failed,               ///< no, expired, self-signed or foreign certificate
  connection_lost,          ///< the conversation ended before its end
  timed_out,                ///< a deadline passed
  cancelled,                ///< the operator asked for it
  unknown_container,        ///< no runtime knows the container
  container_not_running,
  rootfs_not_on_device,     ///< the root file system is a plain directory
  unsupported_container,    ///< something in it cannot be moved (bind mounts, hooks, host namespaces)
  already_exists,           ///< the destination has that container or image
  no_space,                 ///< the destination has not enough room
  disk_full,                ///< the destination ran out of room during the copy
  incompatible_host,        ///< architecture, CPU features, kernel or CRIU differ too much
  criu_missing,             ///< CRIU or the container runtime is missing or fails its own check
  busy,                     ///< another migration holds the container
  copy_failed,              ///< reading or writing blocks failed
  tracker_unavailable,      ///< the requested write tracker cannot run here
  tracking_lost,            ///< the write tracker cannot vouch for its map any more
  digest_mismatch,          ///< the copy is not what was sent
  not_converging,           ///< the container writes faster than the link carries, or for longer than --timeout
  freeze_timed_out,
  checkpoint_failed,
  restore_failed,
  in_doubt,                 ///< ownership was given and the peer does not answer
  internal,                 ///< the journal or another promise of ours broke
  not_authorised,           ///< no rule of the agent that was asked allows it
  not_owner,                ///< another host may run the container
};
inline constexpr Errc kErrcLast = Errc::not_owner;

const std::error_category& migrate_category() noexcept;
inline std::error_code make_error_code(Errc code) noexcept { return {static_cast<int>(code), migrate_category()}; }

/// The word for `code` as it appears in reports and in docs, for example "not_converging".
std::string_view name_of(Errc code) noexcept;

/// A failed operation. what() is one sentence: what failed, on which host, on what object, what to do.
class Error : public std::system_error {
 public:
  /// A failure of ours.
  Error(Errc code, const std::string& sentence);
  /// A failure of the kernel: "operation object: No such file or directory".
  Error(int saved_errno, std::string_view operation, std::string_view object = {});

  const char* what() const noexcept override { return sentence_.c_str(); }
  /// The named failure; a kernel failure counts as `otherwise`.
  Errc code_or(Errc otherwise) const noexcept;

 private:
  std::string sentence_;
};

/// Returns `result` if it is not negative; otherwise throws Error(errno, "ioctl(FIFREEZE)", "/srv/ct7").
int check_syscall(long result, std::string_view operation, std::string_view object = {});

}  // namespace vmigrate

template <>
struct std::is_error_code_enum<vmigrate::Errc> : std::true_type {};
