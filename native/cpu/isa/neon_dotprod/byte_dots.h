// Products of four bytes at a time, in one sdot.
#pragma once

#include "simd.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

constexpr int kKeyOffset = 0;

using Dots = I32;
struct Quads {
  int8x16_t bytes;
};
INFERNODE_INLINE Quads load_quads(const int8_t* p) { return {vld1q_s8(p)}; }
INFERNODE_INLINE Dots add_dots(Dots sum, Quads keys, int32_t q) {
  return {vdotq_s32(sum.v, keys.bytes, vreinterpretq_s8_s32(vdupq_n_s32(q)))};
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
