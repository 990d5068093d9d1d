// f16 and bf16 as numbers: conversions for the scales of every block format, written without intrinsics.
// Included by files that are compiled once per ISA: only static functions.
#pragma once

#include <cstddef>
#include <cstdint>

namespace infernode::quant {

// A little-endian f16, at any alignment.
struct Half {
  uint8_t bytes[2];
};
// A little-endian bf16, at any alignment.
struct BrainHalf {
  uint8_t bytes[2];
};
static_assert(sizeof(Half) == 2 && sizeof(BrainHalf) == 2);

template <class T>
static inline uint32_t bits_of(T half) {
  return __builtin_bit_cast(uint16_t, half);
}

// Exact; NaN stays NaN (and becomes quiet, as the instruction of x86 does it).
static inline float to_float(Half h) {
  const uint32_t bits = bits_of(h), sign = (bits & 0x8000) << 16, rest = (bits & 0x7fff) << 13;
  // Rebias the exponent by 112. Infinity and NaN go up twice; subnormals are normalized by a subtraction.
  const uint32_t normal = rest + (112u << 23), special = (rest + (224u << 23)) | (rest > (0x7c00u << 13) ? 0x400000u : 0u);
  const uint32_t subnormal =
      __builtin_bit_cast(uint32_t, __builtin_bit_cast(float, rest + (113u << 23)) - __builtin_bit_cast(float, 113u << 23));
  const uint32_t magnitude = rest >= (0x7c00u << 13) ? special : rest < (0x0400u << 13) ? subnormal : normal;
  return __builtin_bit_cast(float, sign | magnitude);
}
static inline float to_float(BrainHalf h) { return __builtin_bit_cast(float, bits_of(h) << 16); }

// Rounds to nearest even; too large becomes infinity, NaN stays NaN.
static inline Half to_half(float x) {
  const uint32_t pattern = __builtin_bit_cast(uint32_t, x), sign = pattern >> 16 & 0x8000, rest = pattern & 0x7fffffff;
  uint32_t half;
  if (rest > 0x7f800000) {
    half = 0x7e00 | (rest >> 13 & 0x3ff);
  } else if (rest >= 0x477ff000) {  // 65520
    half = 0x7c00;
  } else if (rest < 0x38800000) {  // below 2^-14 the last bit is worth 2^-24: adding 0.5 rounds there
    half = __builtin_bit_cast(uint32_t, __builtin_bit_cast(float, rest) + 0.5f) - 0x3f000000;
  } else {
    half = (rest - (112u << 23) + 0xfff + (rest >> 13 & 1)) >> 13;
  }
  half |= sign;
  return {{static_cast<uint8_t>(half), static_cast<uint8_t>(half >> 8)}};
}

// Rounds to nearest even; too large becomes infinity, NaN stays NaN and becomes quiet.
static inline BrainHalf to_brain_half(float x) {
  const uint32_t pattern = __builtin_bit_cast(uint32_t, x);
  const uint32_t half = (pattern & 0x7fffffff) > 0x7f800000 ? pattern >> 16 | 0x40 : (pattern + 0x7fff + (pattern >> 16 & 1)) >> 16;
  return {{static_cast<uint8_t>(half), static_cast<uint8_t>(half >> 8)}};
}

// 1 / x, or 0 where that would be infinite: a block of values so small that nothing of them can be kept.
static inline float inverse_or_zero(float x) {
  const float inverse = 1 / x;
  return inverse <= 0x1p127f && inverse >= -0x1p127f ? inverse : 0;
}

}  // namespace infernode::quant
