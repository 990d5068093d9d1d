// The contract of q2_k, as the scalar variant computes it.
#pragma once

#include "quant/activations.h"
#include "quant/q2_k.h"
#include "simd.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

inline float dot(const quant::Q2_K* w, const A8_256* x, size_t n_blocks) {
  F32 acc = F32::zero();
  for (size_t b = 0; b < n_blocks; b++) {
    int32_t scaled = 0, min = 0;
    for (size_t sub = 0; sub < 16; sub++) {
      const int8_t* values = x[b].values + sub * 16;
      const uint8_t* q = w[b].q + sub / 8 * 32 + sub % 2 * 16;
      int32_t sum = 0;
      for (size_t i = 0; i < 16; i++) sum += (q[i] >> sub % 8 / 2 * 2 & 3) * values[i];
      scaled += (w[b].scales[sub] & 15) * sum;
      min += (w[b].scales[sub] >> 4) * x[b].sums[sub];
    }
    acc = fma(F32::all(static_cast<float>(scaled)), F32::all(quant::to_float(w[b].d) * x[b].scale), acc);
    acc = fma(F32::all(-static_cast<float>(min)), F32::all(quant::to_float(w[b].dmin) * x[b].scale), acc);
  }
  return acc.v;
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
