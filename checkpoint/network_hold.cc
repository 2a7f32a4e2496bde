// SPDX-License-Identifier: GPL-2.0-or-later
// The source's bridge ports, closed for as long as the checkpoint may become the truth.
#include <net/if.h>

#include "base/error.h"
#include "base/log.h"
#include "checkpoint/bridge_port.h"
#include "checkpoint/network.h"

namespace vmigrate {
namespace {

class PortHold final : public NetworkHold {
 public:
  explicit PortHold(const NetworkSpec& spec) {
    try {
      for (const auto& interface : spec.interfaces) hold(interface.host_name);
    } catch (...) {
      reopen();
      throw;
    }
  }
  struct Again {};
  /// Of those links that are there still. What fails reopens none: the container may be another host's.
  PortHold(const NetworkSpec& spec, Again) {
    try {
      for (const auto& interface : spec.interfaces)
        if (::if_nametoindex(interface.host_name.c_str()) != 0) hold(interface.host_name);
        else log(LogLevel::warn, "event=no_link name=" + interface.host_name);
    } catch (...) {
      held_.clear();
      throw;
    }
  }
  PortHold(const PortHold&) = delete;
  PortHold& operator=(const PortHold&) = delete;
  ~PortHold() override { reopen(); }

  void keep_down() noexcept override { held_.clear(); }

 private:
  void hold(const std::string& name) {
    held_.push_back(name);
    close_bridge_port(name);
  }

  void reopen() noexcept {
    for (const auto& name : held_) try {
        open_bridge_port(name);
      } catch (const std::exception& failure) {
        log(LogLevel::error, "event=port_stays_closed why=" + std::string(failure.what()));
      }
  }

  std::vector<std::string> held_;
};

}  // namespace

std::unique_ptr<NetworkHold> hold_network(const NetworkSpec& spec) { return std::make_unique<PortHold>(spec); }

std::unique_ptr<NetworkHold> hold_network_again(const NetworkSpec& spec) {
  return std::make_unique<PortHold>(spec, PortHold::Again());
}

}  // namespace vmigrate
