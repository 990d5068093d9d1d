// Random numbers without a state: Philox4x32-10 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), §3.3.
// A draw depends on nothing but what it is for, so batching, order and thread count cannot change it.
#pragma once

#include <array>
#include <cstdint>

namespace infernode {

// The block cipher behind it: ten rounds over a counter of 128 bits, under a key of 64.
constexpr std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; round++) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0], b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key = {key[0] + 0x9E3779B9, key[1] + 0xBB67AE85};
  }
  return counter;
}

// In [0, 1), a multiple of 2^-53. `sample` tells apart the sequences of one request, `position` the tokens of a sequence.
// These values are part of what a seed promises: changing them changes every recorded generation.
constexpr double uniform(uint64_t seed, uint32_t sample, uint64_t position) {
  const auto bits = philox({static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32), sample, 0},
                           {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  return static_cast<double>((uint64_t{bits[0]} << 32 | bits[1]) >> 11) * 0x1p-53;
}

}  // namespace infernode
