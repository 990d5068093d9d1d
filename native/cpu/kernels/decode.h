// Values of any tensor type as f32, for the embedding and for weights that have no integer product yet.
#pragma once

#include "cpu/kernels/kernels.h"
#include "quant/bf16.h"
#include "quant/f16.h"
#include "quant/f32.h"
#include "quant/iq4_nl.h"
#include "quant/iq4_xs.h"
#include "quant/mxfp4.h"
#include "quant/q2_k.h"
#include "quant/q3_k.h"
#include "quant/q4_0.h"
#include "quant/q4_1.h"
#include "quant/q4_k.h"
#include "quant/q5_0.h"
#include "quant/q5_1.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"
#include "quant/q8_0.h"
#include "simd.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

template <class Block>
void decode_blocks(const std::byte* row, size_t first, size_t n, float* out) {
  const Block* blocks = reinterpret_cast<const Block*>(row) + first / Block::kValues;
  for (size_t i = 0; i < n; i += Block::kValues) decode(*blocks++, out + i);
}

// f16 and bf16, a vector at once. (One lane cannot read elements at odd addresses.)
template <class Block, class Element>
void decode_halves(const std::byte* row, size_t first, size_t n, float* out) {
  if constexpr (F32::lanes == 1) {
    decode_blocks<Block>(row, first, n, out);
  } else {
    const Element* elements = reinterpret_cast<const Element*>(row) + first;
    for (size_t i = 0; i < n; i += F32::lanes) store(out + i, load(elements + i, n - i), n - i);
  }
}

// out[0 … n) = values first … first + n of a row; both are multiples of the type's block.
// i32 and activations are no weights: their rows decode to nothing (plans with them are refused before).
inline void decode_values(TensorType type, const std::byte* row, size_t first, size_t n, float* out) {
  switch (type) {
    case TensorType::kF32: return decode_blocks<quant::F32>(row, first, n, out);
    case TensorType::kF16: return decode_halves<quant::F16, F16>(row, first, n, out);
    case TensorType::kBf16: return decode_halves<quant::Bf16, Bf16>(row, first, n, out);
    case TensorType::kQ4_0: return decode_blocks<quant::Q4_0>(row, first, n, out);
    case TensorType::kQ4_1: return decode_blocks<quant::Q4_1>(row, first, n, out);
    case TensorType::kQ5_0: return decode_blocks<quant::Q5_0>(row, first, n, out);
    case TensorType::kQ5_1: return decode_blocks<quant::Q5_1>(row, first, n, out);
    case TensorType::kQ8_0: return decode_blocks<quant::Q8_0>(row, first, n, out);
    case TensorType::kQ2_K: return decode_blocks<quant::Q2_K>(row, first, n, out);
    case TensorType::kQ3_K: return decode_blocks<quant::Q3_K>(row, first, n, out);
    case TensorType::kQ4_K: return decode_blocks<quant::Q4_K>(row, first, n, out);
    case TensorType::kQ5_K: return decode_blocks<quant::Q5_K>(row, first, n, out);
    case TensorType::kQ6_K: return decode_blocks<quant::Q6_K>(row, first, n, out);
    case TensorType::kIq4_Nl: return decode_blocks<quant::Iq4_Nl>(row, first, n, out);
    case TensorType::kIq4_Xs: return decode_blocks<quant::Iq4_Xs>(row, first, n, out);
    case TensorType::kMxfp4: return decode_blocks<quant::Mxfp4>(row, first, n, out);
    case TensorType::kI32:
    case TensorType::kA8_32:
    case TensorType::kA8_256:
    case TensorType::kCount: return;
  }
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
