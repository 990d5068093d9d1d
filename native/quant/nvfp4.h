// nvfp4: 64 floats of four bits as in mxfp4, sixteen of them sharing an unsigned 8-bit float (4 bits of exponent, 3 of fraction).
// Byte i of a sub-block's eight holds value i below and value i + 8 above.
#pragma once

#include "quant/mxfp4.h"

namespace infernode::quant {

struct Nvfp4 {
  static constexpr size_t kValues = 64;
  uint8_t scales[4];
  uint8_t q[32];
};
static_assert(sizeof(Nvfp4) == 36);

// Half of an E4M3 scale, as the values are doubled; its only NaN counts as 0, and its sign is not looked at.
static inline float half_of_e4m3(uint8_t bits) {
  const uint32_t exponent = bits >> 3 & 15, fraction = bits & 7;
  if (bits == 0x7f) return 0;
  if (exponent == 0) return static_cast<float>(fraction) * 0x1p-10f;
  return __builtin_bit_cast(float, (exponent + 119) << 23 | fraction << 20);
}

static inline void decode(const Nvfp4& block, float* out) {
  for (size_t sub = 0; sub < 4; sub++) {
    const float scale = half_of_e4m3(block.scales[sub]);
    for (size_t i = 0; i < 8; i++) {
      const uint8_t q = block.q[8 * sub + i];
      out[16 * sub + i] = scale * static_cast<float>(kMxfp4Doubled[q & 15]);
      out[16 * sub + i + 8] = scale * static_cast<float>(kMxfp4Doubled[q >> 4]);
    }
  }
}

// The scale of least error; past 2688, the format's largest value, x is cut off. x is finite.
static inline void encode(const float* x, Nvfp4& block) {
  const Alike<16> alike;
  for (size_t sub = 0; sub < 4; sub++) {
    alignas(32) float values[16];
    for (size_t i = 0; i < 16; i++) {
      const float v = x[16 * sub + i];
      values[i] = v > 2688 ? 2688 : v < -2688 ? -2688 : v;
    }
    const float largest = magnitude(extreme(values, 16));
    uint8_t best = 0;
    float least = squared_error<Mxfp4Levels>(values, alike.w, 16, 0);
    for (uint8_t bits = 1; bits < 0x7f; bits++) {
      // The largest value wants to be near 12; below 4 the format is a coarser one. Small values have only the smallest scale.
      const float scale = half_of_e4m3(bits), place = largest / scale;
      if (place > 18 || (place < 4 && bits > 1)) continue;
      const float error = squared_error<Mxfp4Levels>(values, alike.w, 16, scale);
      if (error >= least) continue;
      least = error;
      best = bits;
    }
    block.scales[sub] = best;
    int8_t levels[16];
    round_to_levels<Mxfp4Levels>(values, 16, half_of_e4m3(best), levels);
    for (size_t i = 0; i < 8; i++)
      block.q[8 * sub + i] = static_cast<uint8_t>(Mxfp4Levels::number(levels[i]) | Mxfp4Levels::number(levels[i + 8]) << 4);
  }
}

}  // namespace infernode::quant
