// iq4_xs for the vector tiles: the bytes of iq4_nl, with a scale per 32.
#pragma once

#include "cpu/kernels/block_lanes.h"
#include "quant/iq4_xs.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

struct Iq4_XsLanes {
  using Block = quant::Iq4_Xs;
  static constexpr int kStored = 255;
  static constexpr int kOffset = kByteOffset;
  static constexpr size_t kSubValues = 32;
  static constexpr bool kHasMin = false;
  static constexpr Levels kLevels{quant::kIq4Values, kByteOffset};

  INFERNODE_INLINE static Ints weights(const Block& block, size_t step) {
    const uint8_t* q = block.q + step * (kStep / 2);
    return lookup(load_table(kLevels.stored), (load_twice<true>(q, q + kStep / 4) >> for_halves(0, 4)) & 0x0f0f0f0f);
  }

  INFERNODE_INLINE static void header(const RowGroup& rows, size_t offset, Floats& d, Floats&, Ints (&scales)[8],
                                      Ints (&pairs)[8]) {
    Ints words[4];
    load_words(rows, offset, words);
    d = halves_to_floats(words[0] & 0xffff);
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
      const Ints scale = ((words[1] >> (4 * j)) & 15) | (((words[0] >> (16 + 2 * j)) & 3) << 4);
      scales[j] = scale - all_ints(32);
    }
    pairs_of<kOffset>(scales, pairs);
  }
};

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
