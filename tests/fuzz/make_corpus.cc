// SPDX-License-Identifier: GPL-2.0-or-later
// Writes the seeds of every target: make_corpus DIRECTORY, usually tests/fuzz/corpus.
#include <filesystem>
#include <fstream>
#include <iostream>

#include "tests/fuzz/fuzz_seeds.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: make_corpus DIRECTORY\n";
    return 2;
  }
  const std::filesystem::path corpus(argv[1]);
  for (const auto& seed : vmigrate::fuzz::all_seeds()) {
    std::filesystem::create_directories(corpus / seed.target);
    std::ofstream file(corpus / seed.target / seed.name, std::ios::binary);
    file.write(reinterpret_cast<const char*>(seed.bytes.data()), static_cast<std::streamsize>(seed.bytes.size()));
    if (!file.flush()) {
      std::cerr << "cannot write " << (corpus / seed.target / seed.name) << "\n";
      return 1;
    }
  }
}
