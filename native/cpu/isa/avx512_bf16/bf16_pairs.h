// Dot products of bf16 pairs, in one instruction with both additions.
#pragma once

#include "cpu/isa/avx512/lanes.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

// sum + the two products of each lane's halves. Neither rounds like an fma nor keeps subnormals: the instruction's own rules.
INFERNODE_INLINE Floats add_bf16_pairs(Floats sum, Ints a, Ints b) { return _mm512_dpbf16_ps(sum, __m512bh(a), __m512bh(b)); }
// 2 * kLanes values, to nearest even, as pairs.
INFERNODE_INLINE Ints to_bf16_pairs(const float* x) {
  return Ints(_mm512_cvtne2ps_pbh(load_floats(x + kLanes), load_floats(x)));
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
