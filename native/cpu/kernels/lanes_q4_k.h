// q4_k for the vector tiles.
#pragma once

#include "int8.h"
#include "quant/q4_k.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

struct Q4_KLanes {
  using Block = quant::Q4_K;
  static constexpr int kStored = 15;
  static constexpr size_t kSubValues = 32;  // values per sub-block scale
  static constexpr bool kHasMin = true;

  // Values step * kStep … of a super-block.
  INFERNODE_INLINE static Ints weights(const Block& block, size_t step) {
    const size_t sub = step * (kStep / 32);
    return (load_repeated(block.q + sub / 2 * 32) >> for_pieces(sub % 2 * 4, 4)) & 0x0f0f0f0f;
  }

  // scales[j] of sub-block j; pairs[j] (16-bit halves) is what the sums of the activations' 16s 2j and 2j + 1 are weighted
  // with.
  template <bool kFull>
  INFERNODE_INLINE static void header(const RowGroup& rows, size_t offset, Floats& d, Floats& dmin, Ints (&scales)[8],
                                      Ints (&pairs)[8]) {
    Ints words[4];
    load_words<kFull>(rows, offset, words);
    d = halves_to_floats(words[0]);
    dmin = halves_to_floats((words[0] >> 16) & 0xffff);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
      scales[j] = (words[1] >> (8 * j)) & 63;
      scales[4 + j] = ((words[3] >> (8 * j)) & 15) | ((words[1] >> (8 * j + 2)) & 0x30);
      const Ints low = (words[2] >> (8 * j)) & 63, high = ((words[3] >> (8 * j + 4)) & 15) | ((words[2] >> (8 * j + 2)) & 0x30);
      pairs[j] = low | (low << 16);
      pairs[4 + j] = high | (high << 16);
    }
  }
};

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
