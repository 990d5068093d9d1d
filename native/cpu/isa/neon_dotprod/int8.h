// Dot products of stored weights with int8 activations, four per lane in one sdot.
#pragma once

#include "cpu/isa/neon/lanes.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

constexpr int kByteOffset = 0;  // signed bytes stay signed; all other stored weights are small enough to be signed

// Four bytes make a lane: sum + the four products of each.
INFERNODE_INLINE int32x4_t add_quads(int32x4_t sum, int32x4_t weights, int32x4_t activations) {
  return vdotq_s32(sum, vreinterpretq_s8_s32(weights), vreinterpretq_s8_s32(activations));
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA

#include "cpu/isa/neon/tiles.h"
