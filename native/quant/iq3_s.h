// iq3_s: 256 values in eight sub-blocks of 32; value = ± d * (2 * scale + 1) * level, levels 1, 3, … 15.
// Each four values are an entry of a codebook of 512 (8 bits in q, 1 in high); a bit for each sign; scales of 4 bits, two in a byte.
#pragma once

#include "quant/iq_levels.h"

namespace infernode::quant {

struct Iq3_S {
  static constexpr size_t kValues = 256;
  Half d;
  uint8_t q[64];
  uint8_t high[8];
  uint8_t signs[32];
  uint8_t scales[4];
};
static_assert(sizeof(Iq3_S) == 110);

static inline void decode(const Iq3_S& block, float* out) {
  for (size_t sub = 0; sub < 8; sub++) {
    const float d = to_float(block.d) * static_cast<float>(1 + 2 * (block.scales[sub / 2] >> sub % 2 * 4 & 15));
    for (size_t i = 0; i < 32; i++) {
      const int entry = block.q[8 * sub + i / 4] | (block.high[sub] >> i / 4 & 1) << 8, level = 2 * (kIq3SGrid[entry] >> i % 4 * 3 & 7) + 1;
      out[32 * sub + i] = with_sign(d * static_cast<float>(level), block.signs[4 * sub + i / 8], i % 8);
    }
  }
}

}  // namespace infernode::quant
