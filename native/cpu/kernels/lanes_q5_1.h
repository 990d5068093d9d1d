// q5_1 for the vector tiles.
#pragma once

#include "cpu/kernels/block_lanes.h"
#include "quant/q5_1.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

struct Q5_1Lanes : MinBlockLanes {
  using Block = quant::Q5_1;
#ifdef INFERNODE_TURNS_PACKED
  static constexpr bool kTurnsForOne = true;
#endif
  static constexpr int kStored = 31;

  template <bool kFull>
  INFERNODE_INLINE static Ints weights(const Block* blocks) {
    return load_five_bits<kFull>(blocks);
  }
};

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
