// SPDX-License-Identifier: GPL-2.0-or-later
// Channels that carry a session's events beside its messages: in pull mode the destination is the one who asked.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "migrate/progress.h"
#include "transport/channel.h"

namespace vmigrate {

/// The source's end: events wait until the next message is sent and go before it. Both a Channel and a Progress.
class ReportingChannel final : public Channel, public Progress {
 public:
  explicit ReportingChannel(Channel& wire) : wire_(wire) {}

  void report(const nlohmann::json& event) noexcept override;
  Task<> send(const Message& message) override;
  Task<Message> receive() override { return wire_.receive(); }
  void set_idle_timeout(Duration timeout) override { wire_.set_idle_timeout(timeout); }
  void set_payload_limit(std::uint32_t bytes_max) override { wire_.set_payload_limit(bytes_max); }
  void set_compression(Compression compression, std::size_t streams) override {
    wire_.set_compression(compression, streams);
  }
  void note_pause(Duration pause) override { wire_.note_pause(pause); }
  void close() noexcept override { wire_.close(); }
  const std::string& peer_name() const override { return wire_.peer_name(); }
  const std::vector<std::string>& certified_names() const override { return wire_.certified_names(); }
  std::uint64_t bytes_sent() const override { return wire_.bytes_sent(); }
  /// Sends what is still waiting.
  Task<> flush();

 private:
  Channel& wire_;
  std::deque<std::string> waiting_;
};

/// The destination's end: events are taken out of what arrives and given to `progress`.
class ForwardingChannel final : public Channel {
 public:
  ForwardingChannel(Channel& wire, Progress& progress) : wire_(wire), progress_(progress) {}

  Task<> send(const Message& message) override { return wire_.send(message); }
  Task<Message> receive() override;
  void set_idle_timeout(Duration timeout) override { wire_.set_idle_timeout(timeout); }
  void set_payload_limit(std::uint32_t bytes_max) override { wire_.set_payload_limit(bytes_max); }
  void set_compression(Compression compression, std::size_t streams) override {
    wire_.set_compression(compression, streams);
  }
  void note_pause(Duration pause) override { wire_.note_pause(pause); }
  void close() noexcept override { wire_.close(); }
  const std::string& peer_name() const override { return wire_.peer_name(); }
  const std::vector<std::string>& certified_names() const override { return wire_.certified_names(); }
  std::uint64_t bytes_sent() const override { return wire_.bytes_sent(); }
  /// The report, if one has arrived.
  const nlohmann::json& report() const { return report_; }

 private:
  void forward(const std::string& text);

  Channel& wire_;
  Progress& progress_;
  nlohmann::json report_;
};

}  // namespace vmigrate
