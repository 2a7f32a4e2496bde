// SPDX-License-Identifier: GPL-2.0-or-later
// The main() of every test program, for Catch2 version 2; version 3 brings its own.
#define CATCH_CONFIG_MAIN
#include "tests/catch.h"
