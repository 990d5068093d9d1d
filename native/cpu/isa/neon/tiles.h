// What the matmul tiles ask of int8.h, in pairs of registers, over add_quads of the variant.
#pragma once

namespace infernode::cpu::INFERNODE_ISA {
namespace {

// Tokens per register tile, beside kPanelGroups * kLanes rows: 20 of 32 registers are sums, or 12 and 12 with sub-block scales.
constexpr size_t kBlockTokens = 5, kSuperTokens = 3, kFloatTokens = 5;

INFERNODE_INLINE Ints add_quads(Ints sum, Ints weights, Ints activations) {
  return {add_quads(sum.low, weights.low, activations.low), add_quads(sum.high, weights.high, activations.high)};
}
INFERNODE_INLINE int32x4_t add_pairs(int32x4_t sum, int32x4_t a, int32x4_t b) {
  const int16x8_t x = vreinterpretq_s16_s32(a), y = vreinterpretq_s16_s32(b);
  return vaddq_s32(sum, vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(y)), vmull_high_s16(x, y)));
}
// sum + the two products of 16-bit halves.
INFERNODE_INLINE Ints add_pairs(Ints sum, Ints a, Ints b) {
  return {add_pairs(sum.low, a.low, b.low), add_pairs(sum.high, a.high, b.high)};
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA

#include "cpu/kernels/quad_dots.h"
