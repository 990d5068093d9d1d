// One loop per direction and tensor type, over the blocks of native/quant.
#include "quant/codec.h"

#include "generated/blocks.h"

namespace infernode::quant {

namespace {

template <class Block>
concept Encodable = requires(const float* x, Block& block) { encode(x, block); };

template <class Block>
void decode_all(const std::byte* from, size_t n, float* out) {
  static_assert(alignof(Block) == 1);
  const Block* blocks = reinterpret_cast<const Block*>(from);
  for (size_t i = 0; i < n; i += Block::kValues) decode(*blocks++, out + i);
}

template <class Block>
void encode_all(const float* x, size_t n, std::byte* to) {
  if constexpr (Encodable<Block>) {
    Block* blocks = reinterpret_cast<Block*>(to);
    for (size_t i = 0; i < n; i += Block::kValues) encode(x + i, *blocks++);
  }
}

}  // namespace

bool can_decode(TensorType type) {
  switch (type) {
#define CASE(enumerator, Block) case TensorType::enumerator:
    INFERNODE_BLOCKS(CASE)
#undef CASE
    return true;
    default: return false;
  }
}

bool can_encode(TensorType type) {
  switch (type) {
#define CASE(enumerator, Block) \
  case TensorType::enumerator: return Encodable<Block>;
    INFERNODE_BLOCKS(CASE)
#undef CASE
    default: return false;
  }
}

void decode_values(TensorType type, const std::byte* blocks, size_t n, float* out) {
  switch (type) {
#define CASE(enumerator, Block) \
  case TensorType::enumerator: return decode_all<Block>(blocks, n, out);
    INFERNODE_BLOCKS(CASE)
#undef CASE
    default: return;
  }
}

void encode_values(TensorType type, const float* x, size_t n, std::byte* blocks) {
  switch (type) {
#define CASE(enumerator, Block) \
  case TensorType::enumerator: return encode_all<Block>(x, n, blocks);
    INFERNODE_BLOCKS(CASE)
#undef CASE
    default: return;
  }
}

}  // namespace infernode::quant
