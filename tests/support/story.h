// SPDX-License-Identifier: GPL-2.0-or-later
// What happened on both hosts, in order: actions, records and messages, one line each.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "migrate/journal.h"

namespace vmigrate {

class Story {
 public:
  /// "source thaws"
  void tell(const std::string& what) {
    catch_up();
    lines_.push_back(what);
  }
  /// From now on records of this journal are told as "source records GIVEN", before whatever happens next.
  void follow(const std::string& side, const Journal& journal) {
    followed_.push_back({side, &journal, journal.records().size()});
  }
  void forget(const Journal& journal) {
    catch_up();
    std::erase_if(followed_, [&](const Followed& one) { return one.journal == &journal; });
  }

  const std::vector<std::string>& lines() {
    catch_up();
    return lines_;
  }
  bool has(const std::string& line) { return index_of(line) < lines_.size(); }
  /// True if both happened, in this order.
  bool has_in_order(const std::string& first, const std::string& second) {
    return has(first) && has(second) && index_of(first) < index_of(second);
  }
  std::string text() {
    std::string all;
    for (const auto& line : lines()) all += "\n  " + line;
    return all;
  }

 private:
  struct Followed {
    std::string side;
    const Journal* journal;
    std::size_t told;
  };

  std::size_t index_of(const std::string& line) {
    catch_up();
    return static_cast<std::size_t>(std::find(lines_.begin(), lines_.end(), line) - lines_.begin());
  }
  void catch_up() {
    for (Followed& one : followed_)
      for (; one.told < one.journal->records().size(); ++one.told)
        lines_.push_back(one.side + " records " + std::string(name_of(one.journal->records()[one.told].type)));
  }

  std::vector<std::string> lines_;
  std::vector<Followed> followed_;
};

}  // namespace vmigrate
