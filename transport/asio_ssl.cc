// SPDX-License-Identifier: GPL-2.0-or-later
// The TLS part of Boost.Asio, compiled once here instead of in every file.
#include <boost/asio/ssl/impl/src.hpp>
