// tq2_0: 256 values of -1, 0 or 1 times one f16 scale, in 2 bits each that lie as in q2_k. For models trained with such weights.
#pragma once

#include "quant/fit.h"
#include "quant/half.h"

namespace infernode::quant {

struct Tq2_0 {
  static constexpr size_t kValues = 256;
  uint8_t q[64];  // value + 1
  Half d;
};
static_assert(sizeof(Tq2_0) == 66);

static inline void decode(const Tq2_0& block, float* out) {
  const float d = to_float(block.d);
  for (size_t i = 0; i < 256; i++) out[i] = d * static_cast<float>((block.q[i / 128 * 32 + i % 32] >> i / 32 % 4 * 2 & 3) - 1);
}

// x is finite.
static inline void encode(const float* x, Tq2_0& block) {
  uint8_t q[256];
  block.d = fit_ternary(x, q);
  pack_two_bits(q, block.q);
}

}  // namespace infernode::quant
