// q4_0: 32 nibbles with one f16 scale; value = d * (q - 8). Byte i holds value i below and value i + 16 above.
#pragma once

#include "quant/fit.h"
#include "quant/half.h"

namespace infernode::quant {

struct Q4_0 {
  static constexpr size_t kValues = 32;
  Half d;
  uint8_t q[16];
};
static_assert(sizeof(Q4_0) == 18);

static inline void decode(const Q4_0& block, float* out) {
  const float d = to_float(block.d);
  for (size_t i = 0; i < 16; i++) {
    out[i] = d * static_cast<float>((block.q[i] & 15) - 8);
    out[i + 16] = d * static_cast<float>((block.q[i] >> 4) - 8);
  }
}

// x is finite.
static inline void encode(const float* x, Q4_0& block) {
  using Levels = WholeLevels<-8, 7>;
  const Normalized<32> values(x);
  block.d = choose_scale<Levels>(values);
  int8_t levels[32];
  uint8_t q[32];
  round_to_levels<Levels>(values.x, 32, values.meaning(block.d), levels);
  for (size_t i = 0; i < 32; i++) q[i] = static_cast<uint8_t>(levels[i] + 8);
  pack_nibbles(q, block.q);
}

}  // namespace infernode::quant
