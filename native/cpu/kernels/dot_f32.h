// The contract of all types that are multiplied as f32, as the scalar variant computes it.
#pragma once

#include "simd.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

// acc + w · x, one fused multiply-add for each k.
inline float dot(const float* w, const float* x, size_t n, float acc) {
  F32 sum = F32::all(acc);
  for (size_t k = 0; k < n; k++) sum = fma(F32::all(w[k]), F32::all(x[k]), sum);
  return sum.v;
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
