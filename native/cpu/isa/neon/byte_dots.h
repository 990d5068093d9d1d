// Products of four bytes at a time: products in 16 bits, added up pairwise.
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
  const int8x16_t all = vreinterpretq_s8_s32(vdupq_n_s32(q));
  const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(keys.bytes), vget_low_s8(all)));
  return {vaddq_s32(sum.v, vpaddq_s32(low, vpaddlq_s16(vmull_high_s8(keys.bytes, all))))};
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
