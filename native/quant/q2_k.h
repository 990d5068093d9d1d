// q2_k: 256 values of 2 bits in sixteen sub-blocks of 16; value = d * scale * q - dmin * min, scale and min of 4 bits.
// A half of 128 values shares 32 bytes: value 32 * j + i of a half is bits 2j, 2j + 1 of its byte i.
#pragma once

#include "quant/fit.h"
#include "quant/half.h"

namespace infernode::quant {

struct Q2_K {
  static constexpr size_t kValues = 256;
  uint8_t scales[16];  // scale below, min above
  uint8_t q[64];
  Half d, dmin;
};
static_assert(sizeof(Q2_K) == 84);

static inline void decode(const Q2_K& block, float* out) {
  const float d = to_float(block.d), dmin = to_float(block.dmin);
  for (size_t sub = 0; sub < 16; sub++) {
    const float scale = d * static_cast<float>(block.scales[sub] & 15), min = dmin * static_cast<float>(block.scales[sub] >> 4);
    const uint8_t* q = block.q + sub / 8 * 32 + sub % 2 * 16;
    const size_t shift = sub % 8 / 2 * 2;
    for (size_t i = 0; i < 16; i++) out[sub * 16 + i] = scale * static_cast<float>(q[i] >> shift & 3) - min;
  }
}

// x is finite.
static inline void encode(const float* x, Q2_K& block) {
  uint8_t scales[16], mins[16], q[256];
  fit_lines<3, 15, 16>(x, block.d, block.dmin, scales, mins, q);
  for (size_t sub = 0; sub < 16; sub++) block.scales[sub] = static_cast<uint8_t>(scales[sub] | mins[sub] << 4);
  pack_two_bits(q, block.q);
}

}  // namespace infernode::quant
