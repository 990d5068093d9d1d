// f16: IEEE 754 half precision, one value a block.
#pragma once

#include "quant/half.h"

namespace infernode::quant {

struct F16 {
  static constexpr size_t kValues = 1;
  Half value;
};
static_assert(sizeof(F16) == 2);

static inline void decode(const F16& block, float* out) { *out = to_float(block.value); }
static inline void encode(const float* x, F16& block) { block.value = to_half(*x); }

}  // namespace infernode::quant
