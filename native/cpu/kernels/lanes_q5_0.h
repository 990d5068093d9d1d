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
    return join<kFull>([&](int i) {
      uint32_t high;
      __builtin_memcpy(&high, blocks[i].high, sizeof high);
      return nibbles(blocks[i].q) | bits_as(high, 16);
    });
  }
};

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
