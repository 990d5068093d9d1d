// bf16: the upper half of an f32, one value a block.
#pragma once

#include "quant/half.h"

namespace infernode::quant {

struct Bf16 {
  static constexpr size_t kValues = 1;
  BrainHalf value;
};
static_assert(sizeof(Bf16) == 2);

static inline void decode(const Bf16& block, float* out) { *out = to_float(block.value); }
static inline void encode(const float* x, Bf16& block) { block.value = to_brain_half(*x); }

}  // namespace infernode::quant
