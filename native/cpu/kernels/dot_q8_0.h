// The contract of q8_0, as the scalar variant computes it.
#pragma once

#include "quant/activations.h"
#include "quant/q8_0.h"
#include "simd.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

inline float dot(const quant::Q8_0* w, const A8_32* x, size_t n_blocks) {
  F32 acc = F32::zero();
  for (size_t b = 0; b < n_blocks; b++) {
    int32_t sum = 0;
    for (size_t i = 0; i < 32; i++) sum += w[b].q[i] * x[b].values[i];
    acc = fma(F32::all(static_cast<float>(sum)), F32::all(quant::to_float(w[b].d) * x[b].scale), acc);
  }
  return acc.v;
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
