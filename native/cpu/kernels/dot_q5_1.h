// The contract of q5_1, as the scalar variant computes it.
#pragma once

#include "quant/activations.h"
#include "quant/q5_1.h"
#include "simd.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

inline float dot(const quant::Q5_1* w, const A8_32* x, size_t n_blocks) {
  F32 acc = F32::zero();
  for (size_t b = 0; b < n_blocks; b++) {
    const int8_t* values = x[b].values;
    uint32_t high;
    __builtin_memcpy(&high, w[b].high, sizeof high);
    int32_t sum = 0;
    for (size_t i = 0; i < 16; i++) {
      sum += static_cast<int32_t>((w[b].q[i] & 15) | (high >> i & 1) << 4) * values[i];
      sum += static_cast<int32_t>((w[b].q[i] >> 4) | (high >> (i + 16) & 1) << 4) * values[i + 16];
    }
    acc = fma(F32::all(static_cast<float>(sum)), F32::all(quant::to_float(w[b].d) * x[b].scale), acc);
    acc = fma(F32::all(static_cast<float>(x[b].sum)), F32::all(quant::to_float(w[b].m) * x[b].scale), acc);
  }
  return acc.v;
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
