// Values of any tensor type as f32, for the embedding and for weights that have no integer product yet.
#pragma once

#include "cpu/kernels/kernels.h"
#include "generated/blocks.h"
#include "simd.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

template <class Block>
struct Decode {
  static void values(const std::byte* row, size_t first, size_t n, float* out) {
    const Block* blocks = reinterpret_cast<const Block*>(row) + first / Block::kValues;
    for (size_t i = 0; i < n; i += Block::kValues) decode(*blocks++, out + i);
  }
};

// f16 and bf16, a vector at once. (One lane cannot read elements at odd addresses.)
template <class Block, class Element>
struct DecodeHalves {
  static void values(const std::byte* row, size_t first, size_t n, float* out) {
    const Element* elements = reinterpret_cast<const Element*>(row) + first;
    if constexpr (F32::lanes == 1)
      for (size_t i = 0; i < n; i++) decode(reinterpret_cast<const Block*>(row)[first + i], out + i);
    else
      for (size_t i = 0; i < n; i += F32::lanes) store(out + i, load(elements + i, n - i), n - i);
  }
};
template <>
struct Decode<quant::F16> : DecodeHalves<quant::F16, F16> {};
template <>
struct Decode<quant::Bf16> : DecodeHalves<quant::Bf16, Bf16> {};

// out[0 … n) = values first … first + n of a row; both are multiples of the type's block.
// i32 and activations are no weights: their rows decode to nothing (plans with them are refused before).
inline void decode_values(TensorType type, const std::byte* row, size_t first, size_t n, float* out) {
  switch (type) {
#define CASE(enumerator, Block) \
  case TensorType::enumerator: return Decode<quant::Block>::values(row, first, n, out);
    INFERNODE_BLOCKS(CASE)
#undef CASE
    default: return;
  }
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
