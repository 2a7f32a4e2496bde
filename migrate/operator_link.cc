// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/operator_link.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/channel.hpp>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "migrate/report.h"

namespace vmigrate {
namespace {

using boost::system::error_code;
using namespace std::chrono_literals;

constexpr std::size_t kEventsMax = 1000;
constexpr auto kOperatorIdle = std::chrono::hours(24 * 30);   // an operator says nothing for as long as it takes
constexpr auto kFarewellTimeout = 30s;

}  // namespace

struct OperatorLink::State {
  State(asio::any_io_executor executor, std::unique_ptr<Channel> channel_in, Cancellation& cancellation_in)
      : channel(std::move(channel_in)),
        cancellation(&cancellation_in),
        queue(executor, kEventsMax),
        written(executor, 1) {}

  static Task<> read(std::shared_ptr<State> self);
  static Task<> write(std::shared_ptr<State> self);

  std::unique_ptr<Channel> channel;
  Cancellation* cancellation;   ///< null once the session is over
  asio::experimental::channel<void(error_code, Message)> queue;
  asio::experimental::channel<void(error_code)> written;
};

Task<> OperatorLink::State::read(std::shared_ptr<State> self) {
  try {
    for (;;) {
      const Message message = co_await self->channel->receive();
      if (std::holds_alternative<Abort>(message) && self->cancellation != nullptr) self->cancellation->request();
    }
  } catch (const Error& error) {
    log(LogLevel::debug, std::string("event=operator_left reason=") + error.what());
  }
}

Task<> OperatorLink::State::write(std::shared_ptr<State> self) {
  try {
    for (;;) {
      const Message message = co_await self->queue.async_receive(asio::use_awaitable);
      co_await self->channel->send(message);
      if (std::holds_alternative<Report>(message)) break;
    }
  } catch (const std::exception& error) {
    log(LogLevel::debug, std::string("event=operator_left reason=") + error.what());
  }
  self->queue.close();
  self->written.try_send(error_code{});
}

OperatorLink::OperatorLink(asio::any_io_executor executor, std::unique_ptr<Channel> channel, Cancellation& cancellation)
    : state_(std::make_shared<State>(executor, std::move(channel), cancellation)) {
  state_->channel->set_idle_timeout(kOperatorIdle);
  asio::co_spawn(executor, State::read(state_), asio::detached);
  asio::co_spawn(executor, State::write(state_), asio::detached);
}

OperatorLink::~OperatorLink() {
  state_->cancellation = nullptr;
  state_->queue.close();
  state_->channel->close();
}

void OperatorLink::report(const nlohmann::json& event) noexcept {
  if (text_in(event, "event") == "report") return;   // it travels as Report, at the end
  state_->queue.try_send(error_code{}, Message(Event{to_text(event)}));
}

Task<> OperatorLink::finish(nlohmann::json report) {
  state_->channel->set_idle_timeout(kFarewellTimeout);
  Message last = Report{to_text(report)};
  try {
    co_await state_->queue.async_send(error_code{}, std::move(last), asio::use_awaitable);
    co_await state_->written.async_receive(asio::use_awaitable);
  } catch (const boost::system::system_error& error) {
    log(LogLevel::debug, std::string("event=operator_left reason=") + error.what());
  }
}

}  // namespace vmigrate
