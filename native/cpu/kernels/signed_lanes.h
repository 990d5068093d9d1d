// What tiles of products need that multiply signed bytes by signed bytes and keep nothing but int32 sums: weights without an
// offset, and the activations' sums as bytes. Over subtract_bytes of the variant.
#pragma once

#include "cpu/kernels/block_lanes.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

// A lanes_<type>.h whose weights have lost the offset that they are stored with: they all fit in a signed byte then.
template <class Type>
struct SignedLanes : Type {
  static constexpr int kOffset = 0;

  INFERNODE_INLINE static Ints without_offset(Ints bytes) {
    if constexpr (Type::kOffset == 128) return bytes ^ all_ints(static_cast<int32_t>(0x80808080));
    if constexpr (Type::kOffset == 0) return bytes;
    return subtract_bytes(bytes, Type::kOffset);
  }
  // Of types in blocks.
  template <bool kFull>
  INFERNODE_INLINE static Ints weights(const typename Type::Block* blocks) {
    return without_offset(Type::template weights<kFull>(blocks));
  }
  // Of types in super-blocks.
  INFERNODE_INLINE static Ints weights(const typename Type::Block& block, size_t step) {
    return without_offset(Type::weights(block, step));
  }
};

// The sums over 16 activations (within ±2032) as bytes, sum = low + 128 * high: what a super-block's minimums are multiplied
// with.
struct SplitSums {
  int8_t low[16], high[16];
};
INFERNODE_INLINE void split_sums(const int16_t* sums, SplitSums& split) {
  for (size_t i = 0; i < 16; i++) {
    split.low[i] = static_cast<int8_t>(sums[i] & 127);
    split.high[i] = static_cast<int8_t>(sums[i] >> 7);
  }
}
// pairs[2i] and pairs[2i + 1], small and not negative, as the four bytes 4i … of each lane.
INFERNODE_INLINE Ints bytes_of_pairs(Ints even, Ints odd) {
  const Ints low = (even & 0xff) | ((even >> 8) & 0xff00), high = (odd & 0xff) | ((odd >> 8) & 0xff00);
  return low | (high << 16);
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
