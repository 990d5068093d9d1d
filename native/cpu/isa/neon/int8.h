// Dot products of stored weights with int8 activations: products in 16 bits, added up pairwise.
#pragma once

#include "cpu/isa/neon/lanes.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

constexpr int kByteOffset = 0;  // signed bytes stay signed

// Four bytes make a lane: sum + the four products of each. A product is at most 128 * 127, and 16 bits hold it.
INFERNODE_INLINE int32x4_t add_quads(int32x4_t sum, int32x4_t weights, int32x4_t activations) {
  const int8x16_t w = vreinterpretq_s8_s32(weights), a = vreinterpretq_s8_s32(activations);
  const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(a))), high = vpaddlq_s16(vmull_high_s8(w, a));
  return vaddq_s32(sum, vpaddq_s32(low, high));
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA

#include "cpu/isa/neon/tiles.h"
