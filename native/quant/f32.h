// f32: stored as it is, one value a block, at any alignment.
#pragma once

#include <cstddef>
#include <cstdint>

namespace infernode::quant {

struct F32 {
  static constexpr size_t kValues = 1;
  uint8_t bytes[4];
};
static_assert(sizeof(F32) == 4);

static inline void decode(const F32& block, float* out) { __builtin_memcpy(out, block.bytes, sizeof(float)); }
static inline void encode(const float* x, F32& block) { __builtin_memcpy(block.bytes, x, sizeof(float)); }

}  // namespace infernode::quant
