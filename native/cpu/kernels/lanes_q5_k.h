// q5_k for the vector tiles: q4_k with a fifth bit.
#pragma once

#include "cpu/kernels/block_lanes.h"
#include "quant/q5_k.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

struct Q5_KLanes {
  using Block = quant::Q5_K;
  static constexpr bool kTurnsForOne = true;
  static constexpr int kStored = 31;
  static constexpr int kOffset = 0;
  static constexpr size_t kSubValues = 32;
  static constexpr bool kHasMin = true;

  INFERNODE_INLINE static Ints weights(const Block& block, size_t step) {
    const int sub = static_cast<int>(step * (kStep / 32));
    const Ints low = load_repeated(block.q + sub / 2 * 32) >> for_pieces(sub % 2 * 4, 4);
    // Each sub-block has its own bit of `high`: to place 4 with it.
    const Ints high = load_repeated(block.high);
    const Ints bit = sub < 4 ? high << for_pieces(4 - sub, 3 - sub) : high >> for_pieces(sub - 4, sub - 3);
    return (low & 0x0f0f0f0f) | (bit & 0x10101010);
  }

  INFERNODE_INLINE static void header(const RowGroup& rows, size_t offset, Floats& d, Floats& dmin, Ints (&scales)[8],
                                      Ints (&pairs)[8]) {
    load_k_scales(rows, offset, d, dmin, scales, pairs);
  }

#ifdef INFERNODE_TURNS_PACKED
  struct PackedSteps : NeighbourSteps {
    Ints high[8];
    INFERNODE_INLINE void turn_packed(const RowGroup& rows, size_t offset, size_t step, Ints (&w)[16]) {
      if (step == 0) load_turned(rows, offset + offsetof(Block, high), high);
      const int bit = static_cast<int>(2 * step);
      Ints q[8];
      load_turned(rows, offset + offsetof(Block, q) + step * 32, q);
#pragma GCC unroll 8
      for (size_t j = 0; j < 8; j++) {
        w[j] = (q[j] & 0x0f0f0f0f) | (moved(high[j], 4 - bit) & 0x10101010);
        w[8 + j] = ((q[j] >> 4) & 0x0f0f0f0f) | (moved(high[j], 3 - bit) & 0x10101010);
      }
    }
  };
#endif
};

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
