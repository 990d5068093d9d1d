// q6_k for the vector tiles.
#pragma once

#include "int8.h"
#include "quant/q6_k.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

struct Q6_KLanes {
  using Block = quant::Q6_K;
  static constexpr int kStored = 63;
  static constexpr int kOffset = 32;
  static constexpr size_t kSubValues = 16;
  static constexpr bool kHasMin = false;

  INFERNODE_INLINE static Ints weights(const Block& block, size_t step) {
    return join<true>([&](size_t i) {
      const size_t sub = step * (kStep / 32) + i, half = sub / 4, part = sub % 4;
      const Piece low = piece(block.low + half * 64 + part % 2 * 32), high = piece(block.high + half * 32);
      const Piece nibbles = (part / 2 ? _mm256_srli_epi16(low, 4) : low) & piece_of(15);
      // The two bits to places 4 and 5.
      const Piece bits = part == 0   ? _mm256_slli_epi16(high, 4)
                         : part == 1 ? _mm256_slli_epi16(high, 2)
                         : part == 2 ? high
                                     : _mm256_srli_epi16(high, 2);
      return nibbles | (bits & piece_of(0x30));
    });
  }

  // As of q4_k; pairs repair the offset of the stored values. There is no minimum.
  template <bool kFull>
  INFERNODE_INLINE static void header(const RowGroup& rows, size_t offset, Floats& d, Floats&, Ints (&scales)[16], Ints (&pairs)[8]) {
    Ints words[4];
    load_words<kFull>(rows, offset + offsetof(Block, scales), words);
    d = load_halves<kFull>(rows, offset + offsetof(Block, d));
#pragma GCC unroll 16
    for (int j = 0; j < 16; j++) scales[j] = (words[j / 4] << (24 - j % 4 * 8)) >> 24;
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) pairs[j] = (scales[2 * j] & 0xffff) | (scales[2 * j + 1] << 16);
  }
};

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
