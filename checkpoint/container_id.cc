// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/error.h"
#include "checkpoint/container_runtime.h"

namespace vmigrate {
namespace {

constexpr std::size_t kIdBytesMax = 200;   // a name of 255 must hold it and ".img.migrated-" with 32 digits
constexpr std::string_view kIdCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+.-";

}  // namespace

void check_container_id(const std::string& id) {
  // The id itself is not repeated in the sentence: it may hold anything.
  if (id.empty() || id.size() > kIdBytesMax)
    throw Error(Errc::invalid_name, "a container id has 1 to 200 characters, this one " + std::to_string(id.size()));
  if (id.find_first_not_of(kIdCharacters) != std::string::npos)
    throw Error(Errc::invalid_name, "a container id consists of letters, digits, '_', '+', '.' and '-'");
  if (id.front() == '-' || id.front() == '.' || id.find("..") != std::string::npos)
    throw Error(Errc::invalid_name, "a container id neither begins with '-' or '.' nor contains \"..\": " + id);
}

}  // namespace vmigrate
