// SPDX-License-Identifier: GPL-2.0-or-later
// Boost.Asio's implementation, compiled once here instead of in every file.
#include <utility>

#include <boost/asio/impl/src.hpp>
