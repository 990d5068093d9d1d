// q5_k: 256 values of 5 bits in eight sub-blocks of 32; value = d * scale * q - dmin * min, as q4_k.
// Value 32 * j + i has its fifth bit in bit j of high[i].
#pragma once

#include "quant/half.h"
#include "quant/k_scales.h"

namespace infernode::quant {

struct Q5_K {
  static constexpr size_t kValues = 256;
  Half d, dmin;
  uint8_t scales[12];
  uint8_t high[32];
  uint8_t q[128];
};
static_assert(sizeof(Q5_K) == 176);

static inline void decode(const Q5_K& block, float* out) {
  const float d = to_float(block.d), dmin = to_float(block.dmin);
  for (size_t sub = 0; sub < 8; sub++) {
    const float scale = d * static_cast<float>(k_scale(block.scales, sub)),
                min = dmin * static_cast<float>(k_min(block.scales, sub));
    const uint8_t* q = block.q + sub / 2 * 32;
    const size_t shift = sub % 2 * 4;
    for (size_t i = 0; i < 32; i++)
      out[sub * 32 + i] = scale * static_cast<float>((q[i] >> shift & 15) | (block.high[i] >> sub & 1) << 4) - min;
  }
}

}  // namespace infernode::quant
