// q6_k for the vector tiles.
#pragma once

#include "cpu/kernels/block_lanes.h"
#include "quant/q6_k.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

struct Q6_KLanes {
  using Block = quant::Q6_K;
  static constexpr bool kTurnsForOne = true;
  static constexpr int kStored = 63;
  static constexpr int kOffset = 32;
  static constexpr size_t kSubValues = 16;
  static constexpr bool kHasMin = false;

  INFERNODE_INLINE static Ints weights(const Block& block, size_t step) {
    const int half = static_cast<int>(step * kStep / 128), part = static_cast<int>(step * kStep % 128 / 32);
    const Ints low = load_ints(block.low + half * 64 + part % 2 * 32) >> (part / 2 * 4);
    const Ints high = load_repeated(block.high + half * 32);
    // Each part has its own two bits of `high`: to places 4 and 5 with them.
    const Ints bits =
        part < 2 ? high << for_pieces(4 - 2 * part, 2 - 2 * part) : high >> for_pieces(2 * part - 4, 2 * part - 2);
    return (low & 0x0f0f0f0f) | (bits & 0x30303030);
  }

  // As of q4_k; pairs repair the offset of the stored values. There is no minimum.
  INFERNODE_INLINE static void header(const RowGroup& rows, size_t offset, Floats& d, Floats&, Ints (&scales)[16],
                                      Ints (&pairs)[8]) {
    Ints words[4];
    load_words(rows, offset + offsetof(Block, scales), words);
    d = load_halves(rows, offset + offsetof(Block, d));
#pragma GCC unroll 16
    for (int j = 0; j < 16; j++) scales[j] = (words[j / 4] << (24 - j % 4 * 8)) >> 24;
    pairs_of<kOffset>(scales, pairs);
  }
};

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
