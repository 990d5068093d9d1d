// Which tensor types are weights, and which of them can be written.
#pragma once

#include "generated/blocks.h"
#include "generated/tensor_types.h"

namespace infernode::quant {

// Block formats with an encode() beside their decode().
template <class Block>
concept Encodable = requires(const float* x, Block& block) { encode(x, block); };

// i32 and activations are no weights: false.
static constexpr bool can_decode(TensorType type) {
  switch (type) {
#define CASE(enumerator, Block) case TensorType::enumerator:
    INFERNODE_BLOCKS(CASE)
#undef CASE
    return true;
    default: return false;
  }
}

static constexpr bool can_encode(TensorType type) {
  switch (type) {
#define CASE(enumerator, Block) \
  case TensorType::enumerator: return Encodable<Block>;
    INFERNODE_BLOCKS(CASE)
#undef CASE
    default: return false;
  }
}

}  // namespace infernode::quant
