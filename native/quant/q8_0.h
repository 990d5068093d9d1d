// q8_0: 32 signed bytes with one f16 scale; value = d * q.
#pragma once

#include "quant/half.h"

namespace infernode::quant {

struct Q8_0 {
  static constexpr size_t kValues = 32;
  Half d;
  int8_t q[32];
};
static_assert(sizeof(Q8_0) == 34);

static inline void decode(const Q8_0& block, float* out) {
  const float d = to_float(block.d);
  for (size_t i = 0; i < Q8_0::kValues; i++) out[i] = d * static_cast<float>(block.q[i]);
}

// The largest magnitude becomes ±127; halves round away from zero. x is finite.
static inline void encode(const float* x, Q8_0& block) {
  float largest = 0;
  for (size_t i = 0; i < Q8_0::kValues; i++) {
    const float magnitude = x[i] < 0 ? -x[i] : x[i];
    if (magnitude > largest) largest = magnitude;
  }
  const float d = largest / 127, inverse = inverse_or_zero(d);
  block.d = to_half(d);
  for (size_t i = 0; i < Q8_0::kValues; i++) {
    const float scaled = x[i] * inverse;
    block.q[i] = static_cast<int8_t>(scaled + (scaled < 0 ? -0.5f : 0.5f));
  }
}

}  // namespace infernode::quant
