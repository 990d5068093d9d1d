// q5_1: 32 values of 5 bits with an f16 scale and an f16 minimum; value = d * q + m. Bits lie as in q5_0.
#pragma once

#include "quant/fit.h"
#include "quant/half.h"

namespace infernode::quant {

struct Q5_1 {
  static constexpr size_t kValues = 32;
  Half d, m;
  uint8_t high[4];
  uint8_t q[16];
};
static_assert(sizeof(Q5_1) == 24);

static inline void decode(const Q5_1& block, float* out) {
  const float d = to_float(block.d), m = to_float(block.m);
  uint32_t high;
  __builtin_memcpy(&high, block.high, sizeof high);
  for (size_t i = 0; i < 16; i++) {
    out[i] = d * static_cast<float>((block.q[i] & 15) | (high >> i & 1) << 4) + m;
    out[i + 16] = d * static_cast<float>((block.q[i] >> 4) | (high >> (i + 16) & 1) << 4) + m;
  }
}

// x is finite.
static inline void encode(const float* x, Q5_1& block) {
  const Normalized<32> values(x);
  const HalfLine line = choose_line<31>(values);
  block.d = line.d;
  block.m = line.m;
  uint8_t q[32];
  round_to_line<31>(values.x, 32, {values.meaning(line.d), values.meaning(line.m)}, q);
  pack_nibbles(q, block.q);
  pack_fifth_bits(q, block.high);
}

}  // namespace infernode::quant
