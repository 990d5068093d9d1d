// The contract of iq4_xs, as the scalar variant computes it.
#pragma once

#include "quant/activations.h"
#include "quant/iq4_xs.h"
#include "simd.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

inline float dot(const quant::Iq4_Xs* w, const A8_256* x, size_t n_blocks) {
  F32 acc = F32::zero();
  for (size_t b = 0; b < n_blocks; b++) {
    int32_t scaled = 0;
    for (size_t sub = 0; sub < 8; sub++) {
      const int8_t* values = x[b].values + sub * 32;
      const uint8_t* q = w[b].q + sub * 16;
      int32_t sum = 0;
      for (size_t i = 0; i < 16; i++)
        sum += quant::kIq4Values[q[i] & 15] * values[i] + quant::kIq4Values[q[i] >> 4] * values[i + 16];
      scaled += quant::sub_scale(w[b], sub) * sum;
    }
    acc = fma(F32::all(static_cast<float>(scaled)), F32::all(quant::to_float(w[b].d) * x[b].scale), acc);
  }
  return acc.v;
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
