// q4_k for the vector tiles.
#pragma once

#include "cpu/kernels/block_lanes.h"
#include "quant/q4_k.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

struct Q4_KLanes {
  using Block = quant::Q4_K;
  static constexpr bool kTurnsForOne = true;
  static constexpr int kStored = 15;
  static constexpr int kOffset = 0;
  static constexpr size_t kSubValues = 32;  // values per sub-block scale
  static constexpr bool kHasMin = true;

  // Values step * kStep … of a super-block.
  INFERNODE_INLINE static Ints weights(const Block& block, size_t step) {
    const size_t sub = step * (kStep / 32);
    return (load_repeated(block.q + sub / 2 * 32) >> for_pieces(sub % 2 * 4, 4)) & 0x0f0f0f0f;
  }

  INFERNODE_INLINE static void header(const RowGroup& rows, size_t offset, Floats& d, Floats& dmin, Ints (&scales)[8],
                                      Ints (&pairs)[8]) {
    load_k_scales(rows, offset, d, dmin, scales, pairs);
  }

#ifdef INFERNODE_TURNS_PACKED
  struct PackedSteps : NeighbourSteps {
    INFERNODE_INLINE void turn_packed(const RowGroup& rows, size_t offset, size_t step, Ints (&w)[16]) {
      Ints q[8];
      load_turned(rows, offset + offsetof(Block, q) + step * 32, q);
#pragma GCC unroll 8
      for (size_t j = 0; j < 8; j++) {
        w[j] = q[j] & 0x0f0f0f0f;
        w[8 + j] = (q[j] >> 4) & 0x0f0f0f0f;
      }
    }
  };
#endif
};

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
