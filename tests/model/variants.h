// SPDX-License-Identifier: GPL-2.0-or-later
// Rules that others follow, or that were tempting: each is ours with one thing changed, and each is wrong.
#pragma once

#include <string_view>
#include <vector>

#include "tests/model/properties.h"
#include "tests/model/rules.h"

namespace vmigrate::model {

enum class Variant {
  restore_and_run_then_acknowledge,   ///< p.haul's order
  resume_on_lost_reply,               ///< libvirt's order, where no lock manager arbitrates
  destroy_once_go_is_said,            ///< an early protocol of libvirt's
  thaw_on_timeout_after_go,
  go_before_given_is_synced,
  thaw_after_failed_sync,
  unfenced_take_back,
  refuse_without_recording,
  blind_take_back,
  blind_accept,
  act_on_the_page_cache,
  heed_an_old_go,
  go_while_taking_back,
  thaw_after_failed_take_back,
};

struct WrongRules {
  Variant variant;
  std::string_view name;
  Violation harm;   ///< what comes of it
  Rules rules;
};

std::vector<WrongRules> all_variants();

}  // namespace vmigrate::model
