// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/event_channel.h"

#include "base/log.h"
#include "migrate/report.h"

namespace vmigrate {
namespace {

constexpr std::size_t kWaitingMax = 1000;

}  // namespace

void ReportingChannel::report(const nlohmann::json& event) noexcept {
  if (waiting_.size() < kWaitingMax) waiting_.push_back(to_text(event));
}

Task<> ReportingChannel::send(const Message& message) {
  co_await flush();
  co_await wire_.send(message);
}

Task<> ReportingChannel::flush() {
  while (!waiting_.empty()) {
    const Message event = Event{std::move(waiting_.front())};
    waiting_.pop_front();
    co_await wire_.send(event);
  }
}

Task<Message> ForwardingChannel::receive() {
  for (;;) {
    Message message = co_await wire_.receive();
    const auto* event = std::get_if<Event>(&message);
    if (event == nullptr) co_return message;
    forward(event->json);
  }
}

void ForwardingChannel::forward(const std::string& text) {
  const auto event = object_from_text(text, wire_.peer_name());
  if (event.contains("event") && !event["event"].is_string())
    throw Error(Errc::protocol_violation, wire_.peer_name() + " sent an event whose name is no word");
  if (text_in(event, "event") == "report")
    report_ = event;
  else
    progress_.report(event);
}

}  // namespace vmigrate
