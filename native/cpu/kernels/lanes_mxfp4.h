// mxfp4 for the vector tiles: nibbles choose bytes, twice the values, and scales are powers of two, halved.
#pragma once

#include "cpu/kernels/block_lanes.h"
#include "quant/mxfp4.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

struct Mxfp4Lanes : BlockLanes {
  using Block = quant::Mxfp4;
  static constexpr int kStored = 24;
  static constexpr int kOffset = 12;
  static constexpr Levels kLevels{quant::kMxfp4Doubled, kOffset};

  template <bool kFull>
  INFERNODE_INLINE static Ints weights(const Block* blocks) {
    return lookup(load_table(kLevels.stored), load_nibbles<kFull>(blocks));
  }
  // 2^(exponent - 128): the two smallest are subnormal.
  INFERNODE_INLINE static Floats scales(const RowGroup& rows, size_t offset) {
    const Ints exponent = load_bytes(rows, offset), small = (exponent - all_ints(2)) >> 31;  // all bits where it is 0 or 1
    return as_floats((((exponent - all_ints(1)) << 23) & (small ^ -1)) | (((exponent + all_ints(1)) << 21) & small));
  }
};

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
