// f32 values as blocks of any tensor type, for quantizing checkpoints and tensors. The encoders of native/quant are written in vectors
// of eight, whatever the variant's own width, so that all variants give the same bytes.
#include "cpu/kernels/kernels_of_isa.h"
#include "quant/block_types.h"

namespace infernode::cpu::INFERNODE_ISA {

namespace {

template <class Block>
void encode_blocks(const float* x, size_t n, std::byte* to) {
  static_assert(alignof(Block) == 1);
  if constexpr (quant::Encodable<Block>) {
    Block* blocks = reinterpret_cast<Block*>(to);
    for (size_t i = 0; i < n; i += Block::kValues) encode(x + i, *blocks++);
  }
}

}  // namespace

void encode(TensorType type, const float* x, size_t n, std::byte* to) {
  switch (type) {
#define CASE(enumerator, Block) \
  case TensorType::enumerator: return encode_blocks<quant::Block>(x, n, to);
    INFERNODE_BLOCKS(CASE)
#undef CASE
    default: return;
  }
}

}  // namespace infernode::cpu::INFERNODE_ISA
