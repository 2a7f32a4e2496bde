// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/commands.h"

#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <fcntl.h>
#include <unistd.h>
#include <exception>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "base/unique_fd.h"
#include "checkpoint/criu_checkpointer.h"
#include "checkpoint/oci_runtime.h"
#include "engine/device_volume.h"
#include "engine/volume_digest.h"
#include "migrate/agent.h"
#include "migrate/evacuation_printer.h"
#include "migrate/evacuation_start.h"
#include "migrate/exit_code.h"
#include "migrate/host_facts.h"
#include "migrate/host_parts.h"
#include "migrate/printer.h"
#include "migrate/states_diagram.h"

namespace vmigrate {
namespace {

using namespace std::chrono_literals;

constexpr auto kShutdownTimeout = 30s;         // for sessions that can still be cancelled

int exit_code_of(const nlohmann::json& report) {
  const std::string result = text_in(report, "result");
  for (const Outcome outcome : {Outcome::migrated, Outcome::cleanup_pending, Outcome::in_doubt, Outcome::predicted})
    if (result == name_of(outcome)) return exit_code_of(outcome, {});
  const int number = report.value("error", nlohmann::json::object()).value("number", static_cast<int>(Errc::internal));
  return exit_code_of(Outcome::aborted, static_cast<Errc>(number));
}

void print_failure(const nlohmann::json& report) {
  const auto error = report.find("error");
  if (error != report.end()) std::cerr << "vmigrate: " << text_in(*error, "message") << std::endl;
}

/// The first signal asks for a rollback; it is for the session to say whether there is still time for that.
Task<> cancel_on_signal(asio::signal_set& signals, Cancellation& cancellation) {
  for (;;) {
    co_await signals.async_wait(asio::use_awaitable);
    if (cancellation.is_requested()) {
      std::cerr << "vmigrate: leaving as soon as that is possible; the journal keeps what is decided" << std::endl;
      cancellation.shut_down();
    } else {
      std::cerr << "vmigrate: cancelling what was not handed over yet" << std::endl;
      cancellation.request();
    }
  }
}

Task<bool> serve_until_signal(Agent& agent, Listener& listener, asio::signal_set& signals, Clock& clock) {
  co_await signals.async_wait(asio::use_awaitable);
  log(LogLevel::info, "event=stopping");
  listener.close();
  agent.cancel_all();
  // Sessions past the hand-over go on by themselves; their journal says where they were.
  const TimePoint deadline = clock.now() + kShutdownTimeout;
  while (!agent.is_idle() && clock.now() < deadline) co_await clock.sleep_for(50ms);
  co_return agent.is_idle();
}

Task<Bits128> digest_image(asio::thread_pool& pool, std::filesystem::path image) {
  const auto source = open_source(pool, image);
  co_return co_await digest_volume(pool, *source);
}

}  // namespace

int run(const MigrateCommand& command) {
  HostParts parts(command.host, "");
  Cancellation cancellation;
  JsonPrinter json_printer(std::cout);
  TextPrinter text_printer(std::cout);
  Progress& printer = command.is_json ? static_cast<Progress&>(json_printer) : text_printer;
  if (!command.is_json)
    std::cout << command.errand.container << ": " << command.errand.source << " -> " << command.errand.destination
              << (command.errand.is_dry_run ? " (dry run)" : "") << std::endl;
  Loop loop(parts.pool);
  asio::signal_set signals(loop.context, SIGINT, SIGTERM, SIGHUP);
  asio::co_spawn(loop.context, cancel_on_signal(signals, cancellation), asio::detached);
  const auto report = run_to_end(loop.context, run_errand(parts.host, command.errand, printer, cancellation));
  if (command.is_json)
    json_printer.report(report);
  else
    std::cout << summary_of(report) << std::flush;
  print_failure(report);
  return exit_code_of(report);
}

int run(const EvacuateCommand& command) {
  const MigrateCommand& each = command.each;
  HostParts parts(each.host, "");
  Cancellation cancellation;
  JsonPrinter json_printer(std::cout);
  EvacuationPrinter text_printer(std::cout);
  Progress& printer = each.is_json ? static_cast<Progress&>(json_printer) : text_printer;
  Loop loop(parts.pool);
  asio::signal_set signals(loop.context, SIGINT, SIGTERM, SIGHUP);
  asio::co_spawn(loop.context, cancel_on_signal(signals, cancellation), asio::detached);
  const auto summary =
      run_to_end(loop.context, run_evacuation(parts.host, each.errand, command.plan, printer, cancellation));
  if (each.is_json) json_printer.report(summary);
  else std::cout << evacuation_table(summary) << std::flush;
  print_failure(summary);
  return exit_code_of_evacuation(summary);
}

int run(const SetCommand& command) {
  HostParts parts(command.host, "");
  Loop loop(parts.pool);
  const auto answer = run_to_end(loop.context, change_rates(parts.host, command.source, command.change));
  if (command.is_json) std::cout << to_text(answer) << std::endl;
  else std::cout << command.change.container << ": " << sentence_of(rates_in(answer)) << std::endl;
  return kExitDone;
}

/// A wildcard address is no address to dial.
std::string advertised(const ServeCommand& command) {
  if (!command.advertise.empty()) return to_string(parse_endpoint(command.advertise));
  Endpoint endpoint = parse_endpoint(command.listen);
  if (endpoint.host == "0.0.0.0" || endpoint.host == "::") endpoint.host = host_name();
  return to_string(endpoint);
}

int run(const ServeCommand& command) {
  HostParts parts(command.host, advertised(command));
  const RulesFile rules(command.rules.empty() ? command.host.tls_dir / "rules" : command.rules, host_name());
  if (rules.read().size() == 0)
    log(LogLevel::warn, "event=no_rules file=" + rules.path().string() + " everybody is refused");
  parts.host.local.state.remove_unfinished();
  Agent agent(parts.host, rules);
  Loop loop(parts.pool);
  const auto listener = listen(loop.context.get_executor(), parse_endpoint(command.listen), parts.tls);
  log(LogLevel::info, "event=listening address=" + to_string(listener->local_endpoint()));
  asio::co_spawn(loop.context, agent.recover(), asio::detached);
  asio::co_spawn(loop.context, agent.serve(*listener), asio::detached);
  asio::signal_set signals(loop.context, SIGINT, SIGTERM);
  run_to_end(loop.context, serve_until_signal(agent, *listener, signals, parts.clock));
  return kExitDone;
}

int run(const PkiInitCommand& command) {
  create_authority(command.ca_dir);
  std::cout << "the certificate authority is in " << command.ca_dir.native()
            << "; keep ca-key.pem there, and there only\n";
  return kExitDone;
}

/// The mode is ours, whatever the umask: an agent does not trust rules that others may write.
void write_rules(const std::filesystem::path& file, const std::string& text) {
  const UniqueFd fd(check_syscall(::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), "open",
                                  file.string()));
  check_syscall(::write(fd.get(), text.data(), text.size()), "write", file.string());
}

int run(const PkiIssueCommand& command) {
  const std::filesystem::path file = command.tls_dir / "rules";
  const std::string text = first_rules(command.request.host, command.peers, command.operators);
  const Rules rules = parse_rules(text, file.string());
  issue_certificates(command.ca_dir, command.tls_dir, command.request);
  std::cout << "certificates for " << command.request.host << " are in " << command.tls_dir.native() << '\n';
  const bool is_there = std::filesystem::exists(file);
  if (!is_there) write_rules(file, text);
  std::cout << file.native() << (is_there ? " is left as it is\n"
                                 : rules.size() == 0 ? " says who may do what at its agent; it allows nothing yet\n"
                                                     : " says who may do what at its agent\n");
  return kExitDone;
}

int run(const RulesCommand& command) {
  if (!std::filesystem::exists(command.file)) throw Error(Errc::usage, "there is no file " + command.file.string());
  const Rules rules = RulesFile(command.file, host_name()).read();
  if (command.host.empty()) {
    std::cout << command.file.native() << ": " << rules.size() << (rules.size() == 1 ? " rule\n" : " rules\n");
    return kExitDone;
  }
  const Deed deed{action_called(command.action).action, command.container, command.is_dry_run};
  const Rule* rule = rules.allowing({command.host}, deed);
  if (rule == nullptr)
    throw Error(Errc::not_authorised,
                "no line of " + command.file.string() + " says \"" + line_for(command.host, deed) + "\"");
  std::cout << "allowed by " << command.file.native() << ":" << rule->line << '\n';
  return kExitDone;
}

int run(const ImageCreateCommand& command) {
  create_image(command.request);
  std::cout << command.request.image.native() << '\n';
  return kExitDone;
}

int run(const ImageDigestCommand& command) {
  asio::thread_pool pool(1);
  Loop loop(pool);
  std::cout << to_hex(run_to_end(loop.context, digest_image(pool, command.image))) << '\n';
  return kExitDone;
}

int run(const StatesCommand&) {
  std::cout << states_diagram();
  return kExitDone;
}

}  // namespace vmigrate
