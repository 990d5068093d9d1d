// The contract of q6_k, as the scalar variant computes it.
#pragma once

#include "quant/activations.h"
#include "quant/q6_k.h"
#include "simd.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

inline float dot(const quant::Q6_K* w, const A8_256* x, size_t n_blocks) {
  F32 acc = F32::zero();
  for (size_t b = 0; b < n_blocks; b++) {
    int32_t scaled = 0;
    for (size_t sub = 0; sub < 16; sub++) {
      int32_t sum = 0;
      for (size_t i = 0; i < 16; i++) sum += (quant::stored_value(w[b], sub * 16 + i) - 32) * x[b].values[sub * 16 + i];
      scaled += w[b].scales[sub] * sum;
    }
    acc = fma(F32::all(static_cast<float>(scaled)), F32::all(quant::to_float(w[b].d) * x[b].scale), acc);
  }
  return acc.v;
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
