// q8_0 for the vector tiles.
#pragma once

#include "cpu/kernels/block_lanes.h"
#include "quant/q8_0.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

struct Q8_0Lanes : BlockLanes {
  using Block = quant::Q8_0;
  static constexpr bool kTurnsForOne = true;
  static constexpr int kStored = 255;          // the largest stored weight
  static constexpr int kOffset = kByteOffset;  // what is added to a weight as the tile stores it

  static constexpr int32_t kFlip = kByteOffset == 128 ? static_cast<int32_t>(0x80808080) : 0;  // adds 128 to every byte

  // The weights of one block, or of kStep / 32 neighbours if kFull.
  template <bool kFull>
  INFERNODE_INLINE static Ints weights(const Block* blocks) {
    constexpr size_t second = kFull && kStep > 32;  // where a step is one block, nothing of the next is touched
    return load_pieces<kFull>(blocks[0].q, blocks[second].q) ^ all_ints(kFlip);
  }
};

template <>
constexpr bool kTurnsBytes<Q8_0Lanes> = true;

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
