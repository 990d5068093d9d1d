// The matmul as a specification: every output alone, in the order that KERNELS' contract writes down for its weight type. The
// other variants give the same bits.
#pragma once

#include "cpu/kernels/decode.h"
#include "cpu/kernels/dot_f32.h"
#include "cpu/kernels/dot_iq4_nl.h"
#include "cpu/kernels/dot_iq4_xs.h"
#include "cpu/kernels/dot_mxfp4.h"
#include "cpu/kernels/dot_q2_k.h"
#include "cpu/kernels/dot_q3_k.h"
#include "cpu/kernels/dot_q4_0.h"
#include "cpu/kernels/dot_q4_1.h"
#include "cpu/kernels/dot_q4_k.h"
#include "cpu/kernels/dot_q5_0.h"
#include "cpu/kernels/dot_q5_1.h"
#include "cpu/kernels/dot_q5_k.h"
#include "cpu/kernels/dot_q6_k.h"
#include "cpu/kernels/dot_q8_0.h"
#include "cpu/kernels/product.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

constexpr size_t kDecodedValues = 256;  // a multiple of every block
constexpr size_t kPanelBytes = kDecodedValues * sizeof(float);

template <class Block, class ReadRow>
void multiply_integers(const Product& p, ReadRow read_row) {
  for (size_t t = 0; t < p.x.n; t++)
    for (size_t r = 0; r < p.n_rows; r++) {
      const Block* w = reinterpret_cast<const Block*>(p.weight.data + (p.row + r) * p.weight.row_bytes);
      p.sums[t * kItemRows + r] = dot(w, read_row(p.x.data + t * p.x.stride), p.weight.cols / Block::kValues);
    }
}

inline void multiply_floats(const Product& p) {
  float* w = reinterpret_cast<float*>(p.panel);
  for (size_t r = 0; r < p.n_rows; r++)
    for (size_t k = 0; k < p.weight.cols; k += kDecodedValues) {
      const size_t n = p.weight.cols - k < kDecodedValues ? p.weight.cols - k : kDecodedValues;
      decode_values(p.weight.type, p.weight.data + (p.row + r) * p.weight.row_bytes, k, n, w);
      for (size_t t = 0; t < p.x.n; t++) {
        float& sum = p.sums[t * kItemRows + r];
        sum = dot(w, reinterpret_cast<const float*>(p.x.data + t * p.x.stride) + k, n, k == 0 ? 0.0f : sum);
      }
    }
}

inline void multiply(const Product& p) {
  switch (p.weight.type) {
    case TensorType::kIq4_Nl: return multiply_integers<quant::Iq4_Nl>(p, a8_32_row);
    case TensorType::kMxfp4: return multiply_integers<quant::Mxfp4>(p, a8_32_row);
    case TensorType::kQ4_0: return multiply_integers<quant::Q4_0>(p, a8_32_row);
    case TensorType::kQ4_1: return multiply_integers<quant::Q4_1>(p, a8_32_row);
    case TensorType::kQ5_0: return multiply_integers<quant::Q5_0>(p, a8_32_row);
    case TensorType::kQ5_1: return multiply_integers<quant::Q5_1>(p, a8_32_row);
    case TensorType::kQ8_0: return multiply_integers<quant::Q8_0>(p, a8_32_row);
    case TensorType::kIq4_Xs: return multiply_integers<quant::Iq4_Xs>(p, a8_256_row);
    case TensorType::kQ2_K: return multiply_integers<quant::Q2_K>(p, a8_256_row);
    case TensorType::kQ3_K: return multiply_integers<quant::Q3_K>(p, a8_256_row);
    case TensorType::kQ4_K: return multiply_integers<quant::Q4_K>(p, a8_256_row);
    case TensorType::kQ5_K: return multiply_integers<quant::Q5_K>(p, a8_256_row);
    case TensorType::kQ6_K: return multiply_integers<quant::Q6_K>(p, a8_256_row);
    default: return multiply_floats(p);
  }
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
