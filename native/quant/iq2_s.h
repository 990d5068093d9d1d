// iq2_s: 256 values in sixteen sub-blocks of 16; value = ± d * (scale + 0.5) / 4 * level.
// Each eight values are an entry of a codebook of 1024 (8 bits in q, 2 in high) and 8 signs. Scales of 4 bits, two in a byte.
#pragma once

#include "quant/iq_levels.h"

namespace infernode::quant {

struct Iq2_S {
  static constexpr size_t kValues = 256;
  Half d;
  uint8_t q[32];
  uint8_t signs[32];
  uint8_t high[8];
  uint8_t scales[8];
};
static_assert(sizeof(Iq2_S) == 82);

static inline void decode(const Iq2_S& block, float* out) {
  for (size_t i = 0; i < 32; i++) {
    const int entry = block.q[i] | (block.high[i / 4] >> i % 4 * 2 & 3) << 8, scale = block.scales[i / 4] >> i / 2 % 2 * 4 & 15;
    decode_iq2(kIq2SGrid[entry], block.signs[i], to_float(block.d) * (0.5f + static_cast<float>(scale)) * 0.25f, out + 8 * i);
  }
}

}  // namespace infernode::quant
