// Writes a row of f32 activations as a8_32 or a8_256.
#pragma once

#include "cpu/kernels/quantize.h"
#include "quant/activations.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

// The values of one block and their sums, one per `n_summed` values.
template <size_t block, size_t n_summed, class Sum>
INFERNODE_INLINE void quantize_block(const float* x, int8_t* values, float* scale, Sum* sums) {
  *scale = block_scale(x, block);
  const float inverse = inverse_scale(*scale);
  for (size_t first = 0; first < block; first += n_summed) {
    I32 total = I32::zero();
    for (size_t i = first; i < first + n_summed; i += I32::lanes) {
      const I32 q = quantized(x + i, I32::lanes, inverse);
      store(values + i, q);
      total = total + q;
    }
    sums[first / n_summed] = static_cast<Sum>(sum(total));
  }
}

// Columns [begin, end) of a row of k values, both multiples of the type's block; x: the whole row.
void quantize_row(const float* x, Rows out, size_t row, size_t begin, size_t end) {
  const size_t k = out.width;
  std::byte* data = out.data + row * out.stride;
  if (out.type == TensorType::kA8_32) {
    const A8_32Out parts = a8_32_out(data, k);
    for (size_t i = begin; i < end; i += kA8_32Block)
      quantize_block<kA8_32Block, kA8_32Block>(x + i, parts.values + i, parts.scales + i / kA8_32Block,
                                               parts.sums + i / kA8_32Block);
  } else {
    const A8_256Out parts = a8_256_out(data, k);
    for (size_t i = begin; i < end; i += kA8_256Block)
      quantize_block<kA8_256Block, kA8_256SumValues>(x + i, parts.values + i, parts.scales + i / kA8_256Block,
                                                     parts.sums + i / kA8_256SumValues);
  }
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
