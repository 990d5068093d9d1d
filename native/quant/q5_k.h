// q5_k: 256 values of 5 bits in eight sub-blocks of 32; value = d * scale * q - dmin * min, as q4_k.
// Value 32 * j + i has its fifth bit in bit j of high[i].
#pragma once

#include "quant/fit.h"
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

// x is finite.
static inline void encode(const float* x, Q5_K& block) {
  uint8_t scales[8], mins[8], q[256];
  fit_lines<31, 63, 32>(x, block.d, block.dmin, scales, mins, q);
  pack_k_scales(scales, mins, block.scales);
  for (size_t i = 0; i < 128; i++) {
    const uint8_t* pair = q + i / 32 * 64 + i % 32;
    block.q[i] = static_cast<uint8_t>((pair[0] & 15) | (pair[32] & 15) << 4);
  }
  for (size_t i = 0; i < 32; i++) {
    int bits = 0;
    for (size_t sub = 0; sub < 8; sub++) bits |= q[sub * 32 + i] >> 4 << sub;
    block.high[i] = static_cast<uint8_t>(bits);
  }
}

}  // namespace infernode::quant
