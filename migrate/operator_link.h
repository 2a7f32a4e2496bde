// SPDX-License-Identifier: GPL-2.0-or-later
// The agent's end of an operator's connection: events go out, a cancellation may come in.
#pragma once

#include <memory>

#include "migrate/cancellation.h"
#include "migrate/progress.h"
#include "transport/channel.h"

namespace vmigrate {

/// Queues events and never holds up the session; if the operator goes away, the session goes on.
class OperatorLink final : public Progress {
 public:
  /// `cancellation` must outlive the link.
  OperatorLink(asio::any_io_executor executor, std::unique_ptr<Channel> channel, Cancellation& cancellation);
  ~OperatorLink() override;

  void report(const nlohmann::json& event) noexcept override;
  /// Sends the report behind all events and closes. Call once, at the end.
  Task<> finish(nlohmann::json report);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace vmigrate
