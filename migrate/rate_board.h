// SPDX-License-Identifier: GPL-2.0-or-later
// How a new rate reaches the session that sends a container.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "migrate/rate_change.h"

namespace vmigrate {

/// Of one host, on one executor. Must outlive its knobs.
class RateBoard {
 public:
  /// Of a session that sends a container, as long as it has something to send. At most one for each container: the
  /// first, should there ever be a second.
  class Knob {
   public:
    /// `turn` applies the change and returns what holds from then on; it must not throw. Null: nobody can turn it.
    Knob(RateBoard* board, const std::string& container, std::function<Rates(const RateChange&)> turn);
    Knob(const Knob&) = delete;
    ~Knob() { remove(); }
    /// From now on nobody can turn it.
    void remove() noexcept;

   private:
    friend class RateBoard;
    RateBoard* board_;
    std::string container_;
    std::function<Rates(const RateChange&)> turn_;
  };

  /// What holds from now on; nothing if no session here sends that container.
  std::optional<Rates> change(const RateChange& change) const;

 private:
  std::map<std::string, Knob*> knobs_;
};

}  // namespace vmigrate
