// The activation functions that stand alone as ops and in the epilogue of a gated matmul: one formula, one set of bits.
#pragma once

#include "cpu/kernels/math.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

// x · sigmoid(x)
INFERNODE_INLINE F32 silu(F32 x) { return x / (F32::all(1.0f) + exp(F32::zero() - x)); }

// 0.5·x·(1 + tanh u) = x · sigmoid(2u), u = √(2/π)·(x + 0.044715·x³): no cancellation for negative x.
INFERNODE_INLINE F32 gelu_tanh(F32 x) {
  const F32 minus_2u = x * fma(x * x, F32::all(-0.0713548162726f), F32::all(-1.59576912161f));
  return x / (F32::all(1.0f) + exp(minus_2u));
}

// x · Φ(x): for negative x the tail itself, so that nothing cancels.
INFERNODE_INLINE F32 gelu(F32 x) {
  const F32 tail = normal_tail(abs(x));
  return x * select(less(x, F32::zero()), tail, F32::all(1.0f) - tail);
}

// cap · tanh(x / cap)
INFERNODE_INLINE F32 softcap(F32 x, F32 cap) { return cap * tanh(x / cap); }

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
