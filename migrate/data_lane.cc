// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/data_lane.h"

#include <boost/asio/post.hpp>

namespace vmigrate {

DataLane::DataLane(std::unique_ptr<Channel> channel, const Executor& instead_of_a_thread)
    : stays_up_(loop_.get_executor()),
      executor_(instead_of_a_thread.value_or(loop_.get_executor())),
      channel_(std::move(channel)) {
  if (instead_of_a_thread) return;
  channel_->move_to(executor_);
  thread_ = std::thread([this] {
    const PatientThread patience;
    loop_.run();
  });
}

DataLane::~DataLane() {
  close();
  stays_up_.reset();
  if (thread_.joinable()) thread_.join();
}

void DataLane::close() noexcept {
  if (thread_.joinable()) asio::post(executor_, [channel = channel_] { channel->close(); });
  else channel_->close();
}

}  // namespace vmigrate
