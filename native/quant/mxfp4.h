// mxfp4: 32 floats of four bits (sign, two exponent bits, one of fraction) that share a power of two (OCP Microscaling Formats 1.0).
// Byte i holds value i below and value i + 16 above.
#pragma once

#include "quant/fit.h"

namespace infernode::quant {

// Twice the values of E2M1, so that they are integers.
constexpr int8_t kMxfp4Doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

namespace {
struct Mxfp4Levels {
  static Lanes nearest(Lanes v) {
    const Lanes size = v < Lanes{} ? -v : v;
    Lanes level{};
    for (size_t i = 1; i < 8; i++) {
      const Lanes border = Lanes{} + static_cast<float>(kMxfp4Doubled[i - 1] + kMxfp4Doubled[i]) / 2,
                  step = Lanes{} + static_cast<float>(kMxfp4Doubled[i] - kMxfp4Doubled[i - 1]);
      level += size > border ? step : Lanes{};
    }
    return v < Lanes{} ? -level : level;
  }
  static uint8_t number(int8_t level) {
    uint8_t i = 0;
    while (kMxfp4Doubled[i] != level) i++;
    return i;
  }
};
}  // namespace

struct Mxfp4 {
  static constexpr size_t kValues = 32;
  uint8_t exponent;  // of the scale, biased by 127
  uint8_t q[16];
};
static_assert(sizeof(Mxfp4) == 17);

// Half the scale, 2^(exponent - 128), as the values are doubled; the two smallest are subnormal.
static inline float half_scale(uint8_t exponent) {
  return __builtin_bit_cast(float, exponent < 2 ? 0x00200000u << exponent : static_cast<uint32_t>(exponent - 1) << 23);
}

static inline float half_scale(const Mxfp4& block) { return half_scale(block.exponent); }

static inline void decode(const Mxfp4& block, float* out) {
  const float scale = half_scale(block);
  for (size_t i = 0; i < 16; i++) {
    out[i] = scale * static_cast<float>(kMxfp4Doubled[block.q[i] & 15]);
    out[i + 16] = scale * static_cast<float>(kMxfp4Doubled[block.q[i] >> 4]);
  }
}

// The exponent that brings the largest value to 4 … 8, or one of its neighbours, whichever is nearest. x is finite.
static inline void encode(const float* x, Mxfp4& block) {
  const Normalized<32> values(x);
  const Alike<32> alike;
  const int plain = static_cast<int>(__builtin_bit_cast(uint32_t, magnitude(extreme(x, 32))) >> 23) - 2;
  const auto scale_of = [&](int exponent) { return half_scale(static_cast<uint8_t>(exponent)) * values.inverse_unit; };
  int best = plain < 0 ? 0 : plain;
  float least = squared_error<Mxfp4Levels>(values.x, alike.w, 32, scale_of(best));
  for (int exponent = plain - 1; exponent <= plain + 1; exponent += 2) {
    if (exponent < 0) continue;
    const float error = squared_error<Mxfp4Levels>(values.x, alike.w, 32, scale_of(exponent));
    if (error >= least) continue;
    least = error;
    best = exponent;
  }
  block.exponent = static_cast<uint8_t>(best);
  int8_t levels[32];
  uint8_t q[32];
  round_to_levels<Mxfp4Levels>(values.x, 32, scale_of(best), levels);
  for (size_t i = 0; i < 32; i++) q[i] = Mxfp4Levels::number(levels[i]);
  pack_nibbles(q, block.q);
}

}  // namespace infernode::quant
