// iq1_s: 256 values in eight sub-blocks of 32; value = d * (2 * scale + 1) * (level ± 1/8), levels -1, 0, 1.
// Each eight values are an entry of a codebook of 2048: 8 bits in q, 3 in the sub-block's 16 bits of `rest`, which hold the scale in
// bits 12 to 14 and the sign of the shift in bit 15.
#pragma once

#include "quant/iq_levels.h"

namespace infernode::quant {

struct Iq1_S {
  static constexpr size_t kValues = 256;
  Half d;
  uint8_t q[32];
  uint8_t rest[16];
};
static_assert(sizeof(Iq1_S) == 50);

// Eight values of iq1_s and iq1_m.
static inline void decode_iq1(uint32_t entry, float d, bool minus, float* out) {
  const float shift = minus ? -0.125f : 0.125f;
  for (size_t i = 0; i < 8; i++) out[i] = d * (static_cast<float>(kIq1Grid[entry] >> 2 * i & 3) - 1 + shift);
}

static inline void decode(const Iq1_S& block, float* out) {
  for (size_t sub = 0; sub < 8; sub++) {
    const uint32_t rest = little_u16(block.rest + 2 * sub);
    const float d = to_float(block.d) * static_cast<float>(2 * (rest >> 12 & 7) + 1);
    for (size_t i = 0; i < 4; i++)
      decode_iq1(block.q[4 * sub + i] | (rest >> 3 * i & 7) << 8, d, rest >> 15, out + 32 * sub + 8 * i);
  }
}

}  // namespace infernode::quant
