// SPDX-License-Identifier: GPL-2.0-or-later
// The source's links, down for as long as the checkpoint may become the truth.
#include <sys/socket.h>

#include "base/error.h"
#include "base/log.h"
#include "base/unique_fd.h"
#include "checkpoint/link_state.h"
#include "checkpoint/network.h"

namespace vmigrate {
namespace {

class LinkHold final : public NetworkHold {
 public:
  explicit LinkHold(const NetworkSpec& spec)
      : socket_(check_syscall(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket")) {
    try {
      for (const auto& interface : spec.interfaces) hold(interface.host_name);
    } catch (...) {
      bring_up();
      throw;
    }
  }
  LinkHold(const LinkHold&) = delete;
  LinkHold& operator=(const LinkHold&) = delete;
  ~LinkHold() override { bring_up(); }

  void keep_down() noexcept override { held_.clear(); }

 private:
  void hold(const std::string& name) {
    held_.push_back(name);
    set_link_down(socket_.get(), name);
  }

  void bring_up() noexcept {
    for (const auto& name : held_) try {
        set_link_up(socket_.get(), name);
      } catch (const std::exception& failure) {
        log(LogLevel::error, "event=link_stays_down why=" + std::string(failure.what()));
      }
  }

  UniqueFd socket_;
  std::vector<std::string> held_;
};

}  // namespace

std::unique_ptr<NetworkHold> hold_network(const NetworkSpec& spec) { return std::make_unique<LinkHold>(spec); }

}  // namespace vmigrate
