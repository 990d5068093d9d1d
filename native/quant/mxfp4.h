// mxfp4: 32 floats of four bits (sign, two exponent bits, one of fraction) that share a power of two (OCP Microscaling Formats 1.0).
// Byte i holds value i below and value i + 16 above.
#pragma once

#include <cstddef>
#include <cstdint>

namespace infernode::quant {

// Twice the values of E2M1, so that they are integers.
constexpr int8_t kMxfp4Doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

struct Mxfp4 {
  static constexpr size_t kValues = 32;
  uint8_t exponent;  // of the scale, biased by 127
  uint8_t q[16];
};
static_assert(sizeof(Mxfp4) == 17);

// Half the scale, 2^(exponent - 128), as the values are doubled; the two smallest are subnormal.
static inline float half_scale(const Mxfp4& block) {
  const uint32_t bits = block.exponent < 2 ? 0x00200000u << block.exponent : static_cast<uint32_t>(block.exponent - 1) << 23;
  return __builtin_bit_cast(float, bits);
}

static inline void decode(const Mxfp4& block, float* out) {
  const float scale = half_scale(block);
  for (size_t i = 0; i < 16; i++) {
    out[i] = scale * static_cast<float>(kMxfp4Doubled[block.q[i] & 15]);
    out[i + 16] = scale * static_cast<float>(kMxfp4Doubled[block.q[i] >> 4]);
  }
}

}  // namespace infernode::quant
