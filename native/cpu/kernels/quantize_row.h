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
  std::byte* data = out.data + row * out.stride;
  if (out.type == TensorType::kA8_32) {
    A8_32* blocks = reinterpret_cast<A8_32*>(data);
    for (size_t i = begin; i < end; i += kA8_32Block) {
      A8_32& block = blocks[i / kA8_32Block];
      quantize_block<kA8_32Block, kA8_32Block>(x + i, block.values, &block.scale, &block.sum);
    }
  } else {
    A8_256* blocks = reinterpret_cast<A8_256*>(data);
    for (size_t i = begin; i < end; i += kA8_256Block) {
      A8_256& block = blocks[i / kA8_256Block];
      quantize_block<kA8_256Block, kA8_256SumValues>(x + i, block.values, &block.scale, block.sums);
    }
  }
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
