// int8 blocks with one scale: what quantize, the fused norms and the q8_0 cache share. The rules: quant/activations.h.
#pragma once

#include "simd.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

// maxabs / 127 of n values: 0 if that is below the normal range, NaN if any value is not finite.
INFERNODE_INLINE float block_scale(const float* x, size_t n) {
  // Magnitudes compare as integers: NaN above infinity above the rest, in any order of the reduction.
  I32 largest = I32::zero();
  for (size_t i = 0; i < n; i += F32::lanes) largest = max(largest, bits(abs(load(x + i, n - i))));
  const int32_t pattern = maximum(largest);
  if (pattern >= 0x7f800000) return __builtin_nanf("");
  const float scale = __builtin_bit_cast(float, pattern) / 127.0f;
  return scale < 0x1p-126f ? 0.0f : scale;
}

// What values are multiplied with before rounding; 0 where the block is to be zero (scale 0, NaN or infinite).
INFERNODE_INLINE float inverse_scale(float scale) { return scale > 0 && scale < __builtin_inff() ? 1.0f / scale : 0.0f; }

// round(x * inverse) to nearest even within -127..127, n lanes; 0 if inverse is.
INFERNODE_INLINE I32 quantized(const float* x, size_t n, float inverse) {
  if (inverse == 0) return I32::zero();  // not x * 0, which keeps NaN
  return max(I32::all(-127), min(I32::all(127), to_i32(load(x, n) * F32::all(inverse))));
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
