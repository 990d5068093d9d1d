// q5_0 for the vector tiles.
#pragma once

#include "cpu/kernels/block_lanes.h"
#include "quant/q5_0.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

struct Q5_0Lanes : BlockLanes {
  using Block = quant::Q5_0;
  static constexpr int kStored = 31;
  static constexpr int kOffset = 16;

  template <bool kFull>
  INFERNODE_INLINE static Ints weights(const Block* blocks) {
    return load_five_bits<kFull>(blocks);
  }
};

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
