// iq3_xxs: 256 values in eight sub-blocks of 32; value = ± d * (scale + 0.5) / 2 * level.
// A byte for each four values: an entry of a codebook of 256. Then for each sub-block 32 bits: four times 7 signs, and the scale.
#pragma once

#include "quant/iq_levels.h"

namespace infernode::quant {

struct Iq3_Xxs {
  static constexpr size_t kValues = 256;
  Half d;
  uint8_t q[64];
  uint8_t signs_and_scales[32];
};
static_assert(sizeof(Iq3_Xxs) == 98);

static inline void decode(const Iq3_Xxs& block, float* out) {
  for (size_t sub = 0; sub < 8; sub++) {
    const uint32_t rest = little_u32(block.signs_and_scales + 4 * sub);
    const float d = to_float(block.d) * (0.5f + static_cast<float>(rest >> 28)) * 0.5f;
    for (size_t i = 0; i < 32; i++) {
      const int level = kIq3Levels[kIq3XxsGrid[block.q[8 * sub + i / 4]] >> i % 4 * 3 & 7];
      out[32 * sub + i] = with_sign(d * static_cast<float>(level), eight_signs(rest >> i / 8 * 7 & 127), i % 8);
    }
  }
}

}  // namespace infernode::quant
