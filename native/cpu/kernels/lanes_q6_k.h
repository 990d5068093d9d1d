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
    d = load_halves<true>(rows, offset + offsetof(Block, d));
#pragma GCC unroll 16
    for (int j = 0; j < 16; j++) scales[j] = (words[j / 4] << (24 - j % 4 * 8)) >> 24;
    pairs_of<kOffset>(scales, pairs);
  }

#ifdef INFERNODE_TURNS_PACKED
  // A step is 32 bytes of `low`: values that are 64 apart.
  struct PackedSteps {
    Ints high[8];  // of a half
    static constexpr size_t value(size_t step, size_t half) { return step / 2 * 128 + half * 64 + step % 2 * 32; }
    INFERNODE_INLINE void turn_packed(const RowGroup& rows, size_t offset, size_t step, Ints (&w)[16]) {
      if (step % 2 == 0) load_turned(rows, offset + offsetof(Block, high) + step / 2 * 32, high);
      const int bit = static_cast<int>(step % 2 * 2);
      Ints low[8];
      load_turned(rows, offset + offsetof(Block, low) + step * 32, low);
#pragma GCC unroll 8
      for (size_t j = 0; j < 8; j++) {
        w[j] = (low[j] & 0x0f0f0f0f) | (moved(high[j], 4 - bit) & 0x30303030);
        w[8 + j] = ((low[j] >> 4) & 0x0f0f0f0f) | (moved(high[j], -bit) & 0x30303030);
      }
    }
  };
#endif
};

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
