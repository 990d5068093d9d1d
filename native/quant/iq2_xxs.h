// iq2_xxs: 256 values in eight sub-blocks of 32; value = ± d * (scale + 0.5) / 4 * level.
// A sub-block has 8 bytes: four entries of a codebook of 256 (eight levels each), then in 32 bits four times 7 signs and the scale.
#pragma once

#include "quant/iq_levels.h"

namespace infernode::quant {

struct Iq2_Xxs {
  static constexpr size_t kValues = 256;
  Half d;
  uint8_t q[64];
};
static_assert(sizeof(Iq2_Xxs) == 66);

static inline void decode(const Iq2_Xxs& block, float* out) {
  for (size_t sub = 0; sub < 8; sub++) {
    const uint8_t* q = block.q + 8 * sub;
    const uint32_t rest = little_u32(q + 4);
    const float d = to_float(block.d) * (0.5f + static_cast<float>(rest >> 28)) * 0.25f;
    for (size_t i = 0; i < 4; i++)
      decode_iq2(kIq2XxsGrid[q[i]], eight_signs(rest >> 7 * i & 127), d, out + 32 * sub + 8 * i);
  }
}

}  // namespace infernode::quant
