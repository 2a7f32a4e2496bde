// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/failpoint_channel.h"

#include "base/failpoint.h"
#include "migrate/journal.h"

namespace vmigrate {
namespace {

constexpr std::string_view kSubject = "message";

class FailpointChannel final : public Channel {
 public:
  explicit FailpointChannel(std::unique_ptr<Channel> wire) : wire_(std::move(wire)) {}

  Task<> send(const Message& message) override {
    failpoint(kSubject, name_of(message), "before_send");
    co_await wire_->send(message);
    failpoint(kSubject, name_of(message), "after_send");
  }
  Task<Message> receive() override {
    Message message = co_await wire_->receive();
    failpoint(kSubject, name_of(message), "before_handle");
    co_return message;
  }
  void set_idle_timeout(Duration timeout) override { wire_->set_idle_timeout(timeout); }
  void set_payload_limit(std::uint32_t bytes_max) override { wire_->set_payload_limit(bytes_max); }
  const std::vector<std::string>& certified_names() const override { return wire_->certified_names(); }
  void set_compression(Compression compression, std::size_t streams) override {
    wire_->set_compression(compression, streams);
  }
  void note_pause(Duration pause) override { wire_->note_pause(pause); }
  void move_to(const asio::any_io_executor& executor) override { wire_->move_to(executor); }
  void close() noexcept override { wire_->close(); }
  const std::string& peer_name() const override { return wire_->peer_name(); }
  std::uint64_t bytes_sent() const override { return wire_->bytes_sent(); }

 private:
  std::unique_ptr<Channel> wire_;
};

}  // namespace

std::unique_ptr<Channel> with_failpoints(std::unique_ptr<Channel> wire) {
  if (!are_failpoints_set()) return wire;
  return std::make_unique<FailpointChannel>(std::move(wire));
}

std::vector<std::string> failpoint_names() {
  std::vector<std::string> names;
  const auto add = [&names](std::string_view subject, std::string_view object, auto... steps) {
    (names.push_back(std::string(subject) + "." + std::string(object) + "." + steps), ...);
  };
  for (const MessageSpec& spec : kMessageSpecs) add(kSubject, spec.name, "before_send", "after_send", "before_handle");
  for (const RecordType type : kRecordTypes)
    add(kJournalSubject, point_of(type), "before_write", "before_fsync", "after_fsync");
  add("arrival", "base", "after_note", "after_rename", "after_forget");
  add("arrival", "partial", "after_note", "after_rename", "after_all");
  return names;
}

}  // namespace vmigrate
