// q4_1 for the vector tiles.
#pragma once

#include "cpu/kernels/block_lanes.h"
#include "quant/q4_1.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

struct Q4_1Lanes : MinBlockLanes {
  using Block = quant::Q4_1;
#ifdef INFERNODE_TURNS_PACKED
  static constexpr bool kTurnsForOne = true;
#endif
  static constexpr int kStored = 15;

  template <bool kFull>
  INFERNODE_INLINE static Ints weights(const Block* blocks) {
    return load_nibbles<kFull>(blocks);
  }
};

template <>
constexpr bool kTurnsNibbles<Q4_1Lanes> = true;

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
