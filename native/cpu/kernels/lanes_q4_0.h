// q4_0 for the vector tiles.
#pragma once

#include "int8.h"
#include "quant/q4_0.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

struct Q4_0Lanes {
  using Block = quant::Q4_0;
  static constexpr int kStored = 15;
  static constexpr int kOffset = 8;

  template <bool kFull>
  INFERNODE_INLINE static Ints weights(const Block* blocks) {
    constexpr size_t second = kFull && kStep > 32;  // where a step is one block, nothing of the next is touched
    return (load_twice<kFull>(blocks[0].q, blocks[second].q) >> for_halves(0, 4)) & 0x0f0f0f0f;
  }
};

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
