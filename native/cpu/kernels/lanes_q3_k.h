// q3_k for the vector tiles: q2_k with a third bit, and signed scales in place of minimums.
#pragma once

#include "cpu/kernels/block_lanes.h"
#include "quant/q3_k.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

struct Q3_KLanes {
  using Block = quant::Q3_K;
  static constexpr int kStored = 7;
  static constexpr int kOffset = 4;
  static constexpr size_t kSubValues = 16;
  static constexpr bool kHasMin = false;

  INFERNODE_INLINE static Ints weights(const Block& block, size_t step) {
    const int half = static_cast<int>(step * kStep / 128), part = static_cast<int>(step * kStep % 128 / 32);
    const int bit = static_cast<int>(step * (kStep / 32));
    const Ints low = load_repeated(block.q + half * 32) >> for_pieces(2 * part, 2 * part + 2);
    // Each 32 values have their own bit of `high`: to place 2 with it.
    const Ints all = load_repeated(block.high);
    const Ints high = bit < 2 ? all << for_pieces(2 - bit, 1 - bit) : all >> for_pieces(bit - 2, bit - 1);
    return (low & 0x03030303) | (high & 0x04040404);
  }

  INFERNODE_INLINE static void header(const RowGroup& rows, size_t offset, Floats& d, Floats&, Ints (&scales)[16],
                                      Ints (&pairs)[8]) {
    // Two bytes before the scales, the scales, d: together 16.
    Ints words[4];
    load_words(rows, offset + offsetof(Block, scales) - 2, words);
    d = halves_to_floats((words[3] >> 16) & 0xffff);
    const Ints low[2] = {((words[0] >> 16) & 0xffff) | (words[1] << 16), ((words[1] >> 16) & 0xffff) | (words[2] << 16)};
    const Ints high = ((words[2] >> 16) & 0xffff) | (words[3] << 16);
#pragma GCC unroll 4
    for (int four = 0; four < 4; four++) {
      // Scales 4 * four …, a byte each; what is signed is the scale - 32, so bit 5 is turned round and spread upwards.
      const Ints bytes = ((low[four % 2] >> (four / 2 * 4)) & 0x0f0f0f0f) | (((high >> (2 * four)) & 0x03030303) << 4);
#pragma GCC unroll 4
      for (int j = 0; j < 4; j++) scales[4 * four + j] = ((bytes ^ 0x20202020) << (26 - 8 * j)) >> 26;
    }
    pairs_of<kOffset>(scales, pairs);
  }
};

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
