// The contract of iq4_nl, as the scalar variant computes it.
#pragma once

#include "quant/activations.h"
#include "quant/iq4_nl.h"
#include "simd.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

inline float dot(const quant::Iq4_Nl* w, const A8_32* x, size_t n_blocks) {
  F32 acc = F32::zero();
  for (size_t b = 0; b < n_blocks; b++) {
    const int8_t* values = x[b].values;
    int32_t sum = 0;
    for (size_t i = 0; i < 16; i++)
      sum += quant::kIq4Values[w[b].q[i] & 15] * values[i] + quant::kIq4Values[w[b].q[i] >> 4] * values[i + 16];
    acc = fma(F32::all(static_cast<float>(sum)), F32::all(quant::to_float(w[b].d) * x[b].scale), acc);
  }
  return acc.v;
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
