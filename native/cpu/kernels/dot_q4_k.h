// The contract of q4_k, as the scalar variant computes it.
#pragma once

#include "quant/activations.h"
#include "quant/q4_k.h"
#include "simd.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

inline float dot(const quant::Q4_K* w, const A8_256* x, size_t n_blocks) {
  F32 acc = F32::zero();
  for (size_t b = 0; b < n_blocks; b++) {
    const int16_t* sums = x[b].sums;
    int32_t scaled = 0, min = 0;
    for (size_t sub = 0; sub < 8; sub++) {
      const int8_t* values = x[b].values + sub * 32;
      const uint8_t* q = w[b].q + sub / 2 * 32;
      int32_t sum = 0;
      for (size_t i = 0; i < 32; i++) sum += (q[i] >> sub % 2 * 4 & 15) * values[i];
      scaled += quant::k_scale(w[b].scales, sub) * sum;
      min += quant::k_min(w[b].scales, sub) * (sums[sub * 2] + sums[sub * 2 + 1]);
    }
    acc = fma(F32::all(static_cast<float>(scaled)), F32::all(quant::to_float(w[b].d) * x[b].scale), acc);
    acc = fma(F32::all(-static_cast<float>(min)), F32::all(quant::to_float(w[b].dmin) * x[b].scale), acc);
  }
  return acc.v;
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
