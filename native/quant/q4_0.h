// q4_0: 32 nibbles with one f16 scale; value = d * (q - 8). Byte i holds value i below and value i + 16 above.
#pragma once

#include "quant/half.h"

namespace infernode::quant {

struct Q4_0 {
  static constexpr size_t kValues = 32;
  Half d;
  uint8_t q[16];
};
static_assert(sizeof(Q4_0) == 18);

static inline void decode(const Q4_0& block, float* out) {
  const float d = to_float(block.d);
  for (size_t i = 0; i < 16; i++) {
    out[i] = d * static_cast<float>((block.q[i] & 15) - 8);
    out[i + 16] = d * static_cast<float>((block.q[i] >> 4) - 8);
  }
}

// The value of largest magnitude becomes -8 exactly, whatever its sign: the scale takes the sign. x is finite.
static inline void encode(const float* x, Q4_0& block) {
  float largest = 0, signed_largest = 0;
  for (size_t i = 0; i < Q4_0::kValues; i++) {
    const float magnitude = x[i] < 0 ? -x[i] : x[i];
    if (magnitude > largest) {
      largest = magnitude;
      signed_largest = x[i];
    }
  }
  const float d = signed_largest / -8, inverse = inverse_or_zero(d);
  block.d = to_half(d);
  for (size_t i = 0; i < 16; i++) {
    const int low = static_cast<int>(x[i] * inverse + 8.5f), high = static_cast<int>(x[i + 16] * inverse + 8.5f);
    block.q[i] = static_cast<uint8_t>((low < 15 ? low : 15) | (high < 15 ? high : 15) << 4);
  }
}

}  // namespace infernode::quant
