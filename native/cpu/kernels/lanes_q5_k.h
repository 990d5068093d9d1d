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
};

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
