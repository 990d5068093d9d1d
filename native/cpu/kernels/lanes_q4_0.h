// q4_0 for the vector tiles.
#pragma once

#include "cpu/kernels/block_lanes.h"
#include "quant/q4_0.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

struct Q4_0Lanes : BlockLanes {
  using Block = quant::Q4_0;
#ifdef INFERNODE_TURNS_PACKED
  static constexpr bool kTurnsForOne = true;
#endif
  static constexpr int kStored = 15;
  static constexpr int kOffset = 8;

  template <bool kFull>
  INFERNODE_INLINE static Ints weights(const Block* blocks) {
    return load_nibbles<kFull>(blocks);
  }
};

template <>
constexpr bool kTurnsNibbles<Q4_0Lanes> = true;

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
