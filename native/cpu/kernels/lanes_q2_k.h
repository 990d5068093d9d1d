// q2_k for the vector tiles.
#pragma once

#include "cpu/kernels/block_lanes.h"
#include "quant/q2_k.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

struct Q2_KLanes {
  using Block = quant::Q2_K;
  static constexpr int kStored = 3;
  static constexpr int kOffset = 0;
  static constexpr size_t kSubValues = 16;
  static constexpr bool kHasMin = true;

  INFERNODE_INLINE static Ints weights(const Block& block, size_t step) {
    const int half = static_cast<int>(step * kStep / 128), part = static_cast<int>(step * kStep % 128 / 32);
    return (load_repeated(block.q + half * 32) >> for_pieces(2 * part, 2 * part + 2)) & 0x03030303;
  }

  // As of q4_k, for sub-blocks of 16: pairs[j] has the minimums of sub-blocks 2j and 2j + 1.
  INFERNODE_INLINE static void header(const RowGroup& rows, size_t offset, Floats& d, Floats& dmin, Ints (&scales)[16],
                                      Ints (&pairs)[8]) {
    Ints words[4];
    load_words(rows, offset, words);
    const Ints both = load_word(rows, offset + offsetof(Block, d));
    d = halves_to_floats(both);
    dmin = halves_to_floats((both >> 16) & 0xffff);
#pragma GCC unroll 16
    for (int j = 0; j < 16; j++) scales[j] = (words[j / 4] >> (j % 4 * 8)) & 15;
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
      const Ints two = words[j / 2] >> (j % 2 * 16 + 4);
      pairs[j] = (two & 15) | ((two << 8) & 0x000f0000);
    }
  }
};

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
