// SPDX-License-Identifier: GPL-2.0-or-later
#include "migrate/evacuation_start.h"

#include <algorithm>

namespace vmigrate {
namespace {

using nlohmann::json;

// A runtime is asked about each of its containers.
constexpr auto kListingTimeout = std::chrono::minutes(2);

/// Whoever pulls starts nothing on the source, which only has to let us look.
Task<Inventory> ask_agent(const SessionHost& here, const Errand& errand, Cancellation& cancellation) {
  const Endpoint agent = parse_endpoint(errand.source);
  const std::shared_ptr<Channel> channel = co_await connect(agent, here.tls);
  cancellation.on_request([channel] { channel->close(); });
  co_await exchange_hello(here, *channel);
  const bool pulls = errand.is_pull || is_here(errand.destination);
  const Message list = List{to_json(InventoryRequest{errand.is_dry_run || pulls})};
  co_await channel->send(list);
  co_return co_await receive_inventory(*channel, here.clock, kListingTimeout);
}

/// So that together they keep within it.
void share_bandwidth(Errand& errand, const EvacuationPlan& plan, std::size_t containers) {
  std::uint64_t& limit = errand.options.bandwidth_max;
  const std::uint64_t sharers = std::clamp<std::uint64_t>(containers, 1, plan.parallel);
  if (limit > 0) limit = std::max<std::uint64_t>(1, limit / sharers);
}

Task<json> evacuate(const SessionHost& here, Errand errand, EvacuationPlan plan, Progress& progress,
                    Cancellation& cancellation) {
  const Inventory inventory = co_await ask_inventory(here, errand, cancellation);
  cancellation.check();
  share_bandwidth(errand, plan, in_order(inventory, plan).size());
  const auto move = [&here, &errand](std::string container, Progress& events, Cancellation& one) {
    Errand single = errand;
    single.container = std::move(container);
    return run_errand(here, std::move(single), events, one);
  };
  const auto look_again = [&here, &errand, &cancellation] { return ask_inventory(here, errand, cancellation); };
  Evacuation evacuation({move, look_again, here.clock, progress, cancellation}, inventory, plan);
  co_return co_await evacuation.run();
}

}  // namespace

Task<Inventory> ask_inventory(const SessionHost& here, const Errand& errand, Cancellation& cancellation) {
  if (!is_here(errand.source)) co_return co_await ask_agent(here, errand, cancellation);
  const std::function<bool(const std::string&)> everything = [](const std::string&) { return true; };
  co_return co_await take_inventory(here.local, everything, cancellation);
}

Task<json> run_evacuation(const SessionHost& here, Errand errand, EvacuationPlan plan, Progress& progress,
                          Cancellation& cancellation) {
  std::exception_ptr thrown;
  json summary;
  try {
    summary = co_await evacuate(here, errand, plan, progress, cancellation);
  } catch (...) {
    thrown = std::current_exception();
  }
  cancellation.on_request({});
  if (thrown) {
    Failure failure = failure_of(thrown, Errc::internal);
    if (cancellation.is_requested()) failure = {Errc::cancelled, "cancelled by the operator; nothing was moved"};
    summary = failed_evacuation(failure);
  }
  summary["source"] = errand.source;
  summary["destination"] = errand.destination;
  co_return summary;
}

}  // namespace vmigrate
