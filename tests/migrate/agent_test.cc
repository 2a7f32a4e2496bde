// SPDX-License-Identifier: GPL-2.0-or-later
// Whom an agent obeys: every conversation is judged before anything is done for it.
#include "migrate/agent.h"

#include <fstream>
#include <future>
#include <map>

#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/channel.hpp>
#include <boost/asio/post.hpp>
#include <nlohmann/json.hpp>

#include "migrate/exit_code.h"
#include "migrate/host_parts.h"
#include "migrate/inventory.h"
#include "tests/catch.h"
#include "tests/support/memory_channel.h"
#include "tests/support/run_task.h"
#include "tests/support/tls_pair.h"

using namespace vmigrate;

namespace {

/// Knows no container unless it is told of one, and counts who asked.
class EmptyRuntime final : public ContainerRuntime {
 public:
  Task<std::vector<std::string>> list() override {
    ++questions;
    co_return containers;
  }
  Task<ContainerInfo> inspect(std::string id) override {
    ++questions;
    at_inspect();
    const auto found = status_of.find(id);
    if (found != status_of.end()) co_return ContainerInfo{.id = id, .runtime = "runc", .status = found->second};
    throw Error(Errc::unknown_container, "nobody knows " + id);
    co_return ContainerInfo{};
  }
  Task<> pause(const ContainerInfo&) override { co_return; }
  Task<> resume(const ContainerInfo&) override { co_return; }
  Task<> start(const ContainerInfo&) override { co_return; }
  Task<bool> is_frozen(const ContainerInfo&) override { co_return false; }
  Task<> destroy(const ContainerInfo&) override { co_return; }
  std::vector<std::string> containers;
  std::map<std::string, ContainerStatus> status_of;
  std::function<void()> at_inspect = [] {};
  int questions = 0;
};

class NoCheckpointer final : public Checkpointer {
 public:
  Task<std::string> check(std::string) override {
    ++questions;
    throw Error(Errc::criu_missing, "no CRIU");
    co_return std::string();
  }
  Task<> dump(const FrozenContainer&, ImageDir&) override { co_return; }
  Task<std::unique_ptr<RestoredContainer>> restore(ContainerInfo, const ImageDir&) override { co_return nullptr; }
  Task<std::unique_ptr<RestoredContainer>> adopt(std::string) override { co_return nullptr; }
  int questions = 0;
};

/// Gives the agent one conversation after the other.
class Doorstep final : public Listener {
 public:
  explicit Doorstep(asio::any_io_executor executor) : waiting_(executor, 64) {}
  void bring(std::unique_ptr<Channel> channel) { waiting_.try_send(boost::system::error_code(), std::move(channel)); }
  Task<std::unique_ptr<Channel>> accept() override {
    auto [error, channel] = co_await waiting_.async_receive(asio::as_tuple(asio::use_awaitable));
    if (error) throw Error(Errc::connection_lost, "closed");
    co_return std::move(channel);
  }
  Endpoint local_endpoint() const override { return {"memory"}; }
  void close() noexcept override { waiting_.close(); }

 private:
  asio::experimental::channel<void(boost::system::error_code, std::unique_ptr<Channel>)> waiting_;
};

const std::string kOptions =
    R"({"downtime_max_ms":1000,"freeze_timeout_ms":10000,"rounds_max":30,"on_stall":"freeze","tracker":"auto",)"
    R"("timeout_ms":0,"timeout_action":"cancel","auto_converge":false,)"
    R"("compression":"auto","verify":false,"bandwidth_max":0,"switchover_bandwidth_max":0,"streams":0,)"
    R"("resume":true,"keep_partial":false,"keep_source_s":86400,"sample_s":5})";

std::string request(const std::string& container, bool is_dry_run = false) {
  return R"({"container":")" + container + R"(","peer":"beta","pull":false,"dry_run":)" +
         (is_dry_run ? "true" : "false") + R"(,"options":)" + kOptions + "}";
}
std::string offer(const std::string& container) {
  return R"({"container":")" + container + R"(","dry_run":false})";
}

/// What "alpha" hears first when it says `first` to beta's agent.
Task<Message> answer_to(Doorstep& doorstep, SessionHost& peer, Clock& clock, Message first) {
  const auto executor = co_await asio::this_coro::executor;
  MemoryChannelPair pair = make_memory_channels(executor, clock);
  doorstep.bring(std::move(pair.second));
  co_await exchange_hello(peer, *pair.first);
  co_await pair.first->send(first);
  const Message answer = co_await pair.first->receive();
  co_return answer;
}

/// True once the other side has closed the conversation; false if it is still open after `patience`.
Task<bool> is_closed(Channel& channel, Duration patience) {
  channel.set_idle_timeout(patience);
  for (;;) {
    try {
      co_await channel.receive();
    } catch (const Error& error) {
      co_return error.code() == Errc::connection_lost;
    }
  }
}

/// Beta's agent, with rules to be written.
class AgentWorld {
 public:
  void rules(const std::string& text) {
    std::ofstream(directory_.path() / "rules") << text;
    std::filesystem::permissions(directory_.path() / "rules", std::filesystem::perms::owner_all);
  }
  /// The answer; a Refuse or a failed Report counts as its code.
  Errc code(const Message& first) {
    const Message answer = run_task(conversation(first));
    if (const auto* refuse = std::get_if<Refuse>(&answer)) {
      sentence = refuse->reason;
      return static_cast<Errc>(refuse->code);
    }
    if (const auto* report = std::get_if<Report>(&answer))
      return static_cast<Errc>(nlohmann::json::parse(report->json).at("error").at("number").get<int>());
    CHECK(std::holds_alternative<Abort>(answer));   // to an Ask: nothing is recorded
    return Errc{};
  }
  /// What the agent tells of its containers.
  Inventory inventory(bool is_dry_run = false) {
    const Message answer = run_task(conversation(List{to_json(InventoryRequest{is_dry_run})}));
    REQUIRE(std::holds_alternative<Listing>(answer));
    return inventory_from_json(std::get<Listing>(answer).json);
  }
  /// The answer to a change of rates that was made.
  nlohmann::json rates_after(const std::string& change) {
    const Message answer = run_task(conversation(Tune{change}));
    REQUIRE(std::holds_alternative<Report>(answer));
    return nlohmann::json::parse(std::get<Report>(answer).json);
  }
  /// How many of `count` peers of the same name that say nothing are let wait; meanwhile somebody asks.
  std::size_t silent_peers_kept(std::size_t count, LobbyLimits limits) {
    return run_task(crowd(count, limits));
  }
  bool has_done_nothing() const { return runtime.questions == 0 && checkpointer.questions == 0; }

  EmptyRuntime runtime;
  NoCheckpointer checkpointer;
  RateBoard rate_board;
  std::string sentence;
  int questions_until_end = -1;   ///< the agent is told to end when its runtime was asked so often

 private:
  Task<Message> conversation(Message first) {
    const auto executor = co_await asio::this_coro::executor;
    Doorstep doorstep(executor);
    const RulesFile rules_file(directory_.path() / "rules", "beta");
    Agent agent(host_, rules_file);
    runtime.at_inspect = [&] {
      if (runtime.questions == questions_until_end) agent.cancel_all();
    };
    SessionHost peer{host_.local, tls_, clock_, "alpha", "", switchboard_};
    bool has_ended = false;
    asio::co_spawn(executor, agent.serve(doorstep), [&](std::exception_ptr) { has_ended = true; });
    Message answer = co_await answer_to(doorstep, peer, clock_, first);
    doorstep.close();
    while (!has_ended || !agent.is_idle()) co_await clock_.sleep_for(std::chrono::milliseconds(1));
    runtime.at_inspect = [] {};
    co_return answer;
  }

  Task<std::size_t> crowd(std::size_t count, LobbyLimits limits) {
    const auto executor = co_await asio::this_coro::executor;
    Doorstep doorstep(executor);
    const RulesFile rules_file(directory_.path() / "rules", "beta");
    Agent agent(host_, rules_file, limits);
    SessionHost peer{host_.local, tls_, clock_, "alpha", "", switchboard_};
    asio::co_spawn(executor, agent.serve(doorstep), asio::detached);
    std::vector<std::unique_ptr<Channel>> silent;
    for (std::size_t i = 0; i < count; ++i) {
      MemoryChannelPair pair = make_memory_channels(executor, clock_);
      doorstep.bring(std::move(pair.second));
      silent.push_back(std::move(pair.first));
    }
    const Message ask = Ask{{}, "redis"};
    const Message answer = co_await answer_to(doorstep, peer, clock_, ask);
    CHECK(std::holds_alternative<Refuse>(answer));
    std::size_t kept = 0;
    for (const auto& channel : silent) {
      const bool is_gone = co_await is_closed(*channel, std::chrono::milliseconds(20));
      kept += is_gone ? 0 : 1;
    }
    for (const auto& channel : silent) channel->close();
    doorstep.close();
    co_await clock_.sleep_for(std::chrono::milliseconds(20));
    co_return kept;
  }

  TemporaryDirectory directory_;
  TestPki pki_;
  TlsContext tls_{pki_.host("beta")};
  SteadyClock clock_;
  Switchboard switchboard_;
  asio::thread_pool pool_{1};
  StateDir state_{directory_.path() / "state"};
  SessionHost host_{{state_, pool_, runtime, checkpointer}, tls_, clock_, "beta", "", switchboard_, nullptr, nullptr,
                    &rate_board};
};

}  // namespace

TEST_CASE("without rules an agent does nothing for anybody", "[migrate][agent]") {
  AgentWorld beta;
  const std::vector<std::pair<Message, std::string>> conversations = {
      {Start{request("redis")}, "allow start redis by alpha"},
      {Start{request("redis", true)}, "allow inspect redis by alpha"},
      {Pull{request("redis")}, "allow send redis to alpha"},
      {Open{{}, offer("redis")}, "allow receive redis from alpha"},
      {List{R"({"dry_run":false})"}, "allow start * by alpha"},
      {List{R"({"dry_run":true})"}, "allow inspect * by alpha"},
      {Tune{R"({"container":"redis","bandwidth_max":0})"}, "allow start redis by alpha"},
      {Ask{{}, "redis"}, "allow ask redis by alpha"}};
  for (const auto& [first, line] : conversations) {
    INFO(line);
    CHECK(beta.code(first) == Errc::not_authorised);
    CHECK(beta.sentence.find("\"" + line + "\"") != std::string::npos);
    CHECK(beta.has_done_nothing());
  }
}

TEST_CASE("one right is not another, and one container is not another", "[migrate][agent]") {
  AgentWorld beta;
  beta.rules("allow start redis by alpha");
  CHECK(beta.code(Start{request("redis2")}) == Errc::not_authorised);
  CHECK(beta.code(Pull{request("redis")}) == Errc::not_authorised);
  CHECK(beta.code(Open{{}, offer("redis")}) == Errc::not_authorised);
  CHECK(beta.code(Ask{{}, "redis"}) == Errc::not_authorised);
  beta.rules("allow inspect * by alpha");
  CHECK(beta.code(Start{request("redis")}) == Errc::not_authorised);
  CHECK(beta.code(Pull{request("redis")}) == Errc::not_authorised);
  beta.rules("allow send * to gamma\nallow receive * from gamma\nallow start * by gamma\nallow ask * by gamma");
  CHECK(beta.code(Start{request("redis")}) == Errc::not_authorised);
  CHECK(beta.has_done_nothing());
}

TEST_CASE("what a rule allows is done", "[migrate][agent]") {
  AgentWorld beta;
  beta.rules("allow start * by alpha");
  CHECK(beta.code(Start{request("redis")}) == Errc::unknown_container);
  beta.rules("allow send red* to alpha");
  CHECK(beta.code(Pull{request("redis")}) == Errc::unknown_container);
  CHECK(beta.code(Ask{{}, "redis"}) == Errc{});
  beta.rules("allow inspect redis by alpha");
  CHECK(beta.code(Start{request("redis", true)}) == Errc::unknown_container);
  CHECK(beta.runtime.questions == 3);
  beta.rules("allow receive * from alpha");
  CHECK(beta.code(Open{{}, offer("redis")}) == Errc::protocol_violation);   // the rest of the offer is missing
}

TEST_CASE("a name that no container has is refused before the rules are asked", "[migrate][agent]") {
  AgentWorld beta;
  for (const char* name : {"", "../db", "a b", "-x"}) {
    INFO(name);
    CHECK(beta.code(Pull{request(name)}) == Errc::invalid_name);
    CHECK(beta.code(Open{{}, offer(name)}) == Errc::invalid_name);
  }
  CHECK(beta.code(Start{"{}"}) == Errc::protocol_violation);
  CHECK(beta.code(Start{R"({"container":7,"dry_run":false})"}) == Errc::protocol_violation);
  CHECK(beta.code(Start{R"({"container":"redis","dry_run":"no"})"}) == Errc::protocol_violation);
  CHECK(beta.has_done_nothing());
}

TEST_CASE("who may start or inspect some containers sees those, and of the others how many run", "[migrate][agent]") {
  AgentWorld beta;
  beta.runtime.containers = {"web-2", "web-1", "db", "old", "gone"};
  for (const char* running : {"web-1", "web-2", "db"}) beta.runtime.status_of[running] = ContainerStatus::running;
  beta.runtime.status_of["old"] = ContainerStatus::stopped;
  beta.rules("allow start web-* by alpha");
  const Inventory webs = beta.inventory();
  REQUIRE(webs.entries.size() == 2);
  CHECK(webs.entries[0].container == "web-1");
  CHECK(webs.entries[1].container == "web-2");
  CHECK(webs.entries[0].obstacle);   // these have neither bundle nor device
  CHECK(webs.hidden == 1);
  CHECK_FALSE(webs.has_more);
  beta.rules("allow start web-1 by alpha\nallow inspect * by alpha\nallow start * by gamma");
  CHECK(beta.inventory().entries.size() == 1);
  CHECK(beta.inventory().hidden == 2);
  CHECK(beta.inventory(true).entries.size() == 3);
  CHECK(beta.inventory(true).hidden == 0);
}

TEST_CASE("a listing under way ends with its agent", "[migrate][agent]") {
  AgentWorld beta;
  for (int i = 0; i < 100; ++i) beta.runtime.containers.push_back("ct" + std::to_string(i));
  beta.rules("allow start * by alpha");
  beta.questions_until_end = 4;
  CHECK(beta.code(List{R"({"dry_run":false})"}) == Errc::cancelled);
  CHECK(beta.runtime.questions == 4);
}

TEST_CASE("work that blocks as many sessions as leave a host at once holds up nobody else", "[migrate][agent]") {
  asio::thread_pool pool(kPoolThreads);
  std::promise<void> end;
  const std::shared_future<void> ended = end.get_future().share();
  for (std::uint32_t i = 0; i < kParallelMax; ++i) asio::post(pool, [ended] { ended.wait(); });
  std::promise<void> another;
  asio::post(pool, [&another] { another.set_value(); });
  CHECK(another.get_future().wait_for(std::chrono::seconds(10)) == std::future_status::ready);
  end.set_value();
  pool.join();
}

TEST_CASE("who may start the migration of a container may change its rates while it is sent, and nobody else may",
          "[migrate][agent]") {
  AgentWorld beta;
  const std::string change = R"({"container":"redis","bandwidth_max":7})";
  Rates rates{1, 2};
  std::optional<RateBoard::Knob> knob;
  knob.emplace(&beta.rate_board, "redis", [&](const RateChange& wanted) { return rates = rates.changed_by(wanted); });
  beta.rules("allow send * to alpha\nallow inspect * by alpha\nallow start redis2 by alpha\nallow start * by gamma");
  CHECK(beta.code(Tune{change}) == Errc::not_authorised);
  CHECK(beta.sentence.find("\"allow start redis by alpha\"") != std::string::npos);
  CHECK(rates.bandwidth_max == 1);
  beta.rules("allow start red* by alpha");
  const nlohmann::json answer = beta.rates_after(change);
  CHECK(answer["result"] == "tuned");
  CHECK(answer["container"] == "redis");
  CHECK(answer["bandwidth_max"] == 7);
  CHECK(answer["switchover_bandwidth_max"] == 2);
  CHECK(rates.bandwidth_max == 7);
  CHECK(beta.code(Tune{R"({"container":"redis2","bandwidth_max":7})"}) == Errc::unknown_container);
  CHECK(beta.sentence.find("beta") != std::string::npos);
  CHECK(beta.code(Tune{R"({"container":"../db","bandwidth_max":7})"}) == Errc::invalid_name);
  CHECK(beta.code(Tune{R"({"container":"redis"})"}) == Errc::protocol_violation);
  knob.reset();
  CHECK(beta.code(Tune{change}) == Errc::unknown_container);
  CHECK(beta.has_done_nothing());
}

TEST_CASE("rights that move nothing from here show nothing", "[migrate][agent]") {
  AgentWorld beta;
  beta.runtime.containers = {"db"};
  beta.runtime.status_of["db"] = ContainerStatus::running;
  beta.rules("allow send * to alpha\nallow receive * from alpha\nallow ask * by alpha\nallow inspect * by alpha");
  CHECK(beta.code(List{R"({"dry_run":false})"}) == Errc::not_authorised);
  CHECK(beta.code(List{"{}"}) == Errc::protocol_violation);
  CHECK(beta.has_done_nothing());
}

TEST_CASE("peers that do not say what they want are few, and hold up nobody", "[migrate][agent]") {
  AgentWorld beta;
  // The one who asks takes the place of the oldest.
  CHECK(beta.silent_peers_kept(40, {.guests_max = 32, .guests_per_host_max = 8}) == 7);
  CHECK(beta.silent_peers_kept(40, {.guests_max = 5, .guests_per_host_max = 8}) == 4);
  CHECK(beta.silent_peers_kept(5, {.guests_max = 32, .guests_per_host_max = 8}) == 5);
}

TEST_CASE("a peer that does not say what it wants is shown out in time", "[migrate][agent]") {
  AgentWorld beta;
  CHECK(beta.silent_peers_kept(3, {.stay_max = std::chrono::milliseconds(1)}) == 0);
}
