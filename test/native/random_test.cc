// The random numbers: the published cipher, values fixed forever, and roughly uniform.
#include "random.h"

#include <doctest/doctest.h>

using infernode::philox;
using infernode::uniform;

TEST_CASE("philox gives the known answers of the paper's authors") {
  CHECK(philox({0, 0, 0, 0}, {0, 0}) == std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}) == std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        std::array<uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("a draw is the top 53 of its block's first 64 bits, at compile time too") {
  static_assert(uniform(0, 0, 0) == static_cast<double>(0x6627e8d5e169c58dull >> 11) / 9007199254740992.0);
  CHECK(uniform(0x0123456789abcdefull, 7, 0x100000002ull) ==
        static_cast<double>((uint64_t{philox({2, 1, 7, 0}, {0x89abcdef, 0x01234567})[0]} << 32 |
                             philox({2, 1, 7, 0}, {0x89abcdef, 0x01234567})[1]) >> 11) / 9007199254740992.0);
}

TEST_CASE("draws are uniform over positions, samples and seeds") {
  for (int which = 0; which < 3; which++) {
    constexpr int kDraws = 100000, kBins = 100;
    int bins[kBins] = {};
    double sum = 0;
    for (uint32_t i = 0; i < kDraws; i++) {
      const double x = which == 0 ? uniform(1, 0, i) : which == 1 ? uniform(1, i, 0) : uniform(i, 0, 1);
      REQUIRE(x >= 0);
      REQUIRE(x < 1);
      bins[static_cast<int>(x * kBins)]++;
      sum += x;
    }
    double chi_square = 0;
    for (int n : bins) chi_square += (n - 1000.0) * (n - 1000.0) / 1000.0;
    CHECK(chi_square < 160);  // 99 degrees of freedom: exceeded by chance once in ten thousand
    CHECK(sum / kDraws == doctest::Approx(0.5).epsilon(0.01));
  }
}
