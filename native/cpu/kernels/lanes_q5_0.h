// q5_0 for the vector tiles.
#pragma once

#include "int8.h"
#include "quant/q5_0.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

struct Q5_0Lanes {
  using Block = quant::Q5_0;
  static constexpr int kStored = 31;
  static constexpr int kOffset = 16;

  template <bool kFull>
  INFERNODE_INLINE static Ints weights(const Block* blocks) {
    constexpr size_t second = kFull && kStep > 32;  // where a step is one block, nothing of the next is touched
    uint32_t high[2];
    __builtin_memcpy(&high[0], blocks[0].high, sizeof high[0]);
    __builtin_memcpy(&high[1], blocks[second].high, sizeof high[1]);
    const Ints nibbles = (load_twice<kFull>(blocks[0].q, blocks[second].q) >> for_halves(0, 4)) & 0x0f0f0f0f;
    return set_bits(nibbles, high[0], high[1], 16);
  }
};

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
