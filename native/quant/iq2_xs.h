// iq2_xs: 256 values in sixteen sub-blocks of 16; value = ± d * (scale + 0.5) / 4 * level.
// 16 bits for each eight values: an entry of a codebook of 512, and 7 signs above it. Scales of 4 bits, two in a byte.
#pragma once

#include "quant/iq_levels.h"

namespace infernode::quant {

struct Iq2_Xs {
  static constexpr size_t kValues = 256;
  Half d;
  uint8_t q[64];
  uint8_t scales[8];
};
static_assert(sizeof(Iq2_Xs) == 74);

static inline void decode(const Iq2_Xs& block, float* out) {
  for (size_t i = 0; i < 32; i++) {
    const uint32_t q = little_u16(block.q + 2 * i), scale = block.scales[i / 4] >> i / 2 % 2 * 4 & 15;
    decode_iq2(kIq2XsGrid[q & 511], eight_signs(q >> 9), to_float(block.d) * (0.5f + static_cast<float>(scale)) * 0.25f, out + 8 * i);
  }
}

}  // namespace infernode::quant
