// q4_1: 32 nibbles with an f16 scale and an f16 minimum; value = d * q + m. Byte i holds value i below and value i + 16 above.
#pragma once

#include "quant/fit.h"
#include "quant/half.h"

namespace infernode::quant {

struct Q4_1 {
  static constexpr size_t kValues = 32;
  Half d, m;
  uint8_t q[16];
};
static_assert(sizeof(Q4_1) == 20);

static inline void decode(const Q4_1& block, float* out) {
  const float d = to_float(block.d), m = to_float(block.m);
  for (size_t i = 0; i < 16; i++) {
    out[i] = d * static_cast<float>(block.q[i] & 15) + m;
    out[i + 16] = d * static_cast<float>(block.q[i] >> 4) + m;
  }
}

// x is finite.
static inline void encode(const float* x, Q4_1& block) {
  const Normalized<32> values(x);
  const HalfLine line = choose_line<15>(values);
  block.d = line.d;
  block.m = line.m;
  uint8_t q[32];
  round_to_line<15>(values.x, 32, {values.meaning(line.d), values.meaning(line.m)}, q);
  pack_nibbles(q, block.q);
}

}  // namespace infernode::quant
