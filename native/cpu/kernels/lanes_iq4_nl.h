// iq4_nl for the vector tiles: nibbles choose bytes.
#pragma once

#include "cpu/kernels/block_lanes.h"
#include "quant/iq4_nl.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

struct Iq4_NlLanes : BlockLanes {
  using Block = quant::Iq4_Nl;
  static constexpr int kStored = 255;
  static constexpr int kOffset = kByteOffset;
  static constexpr Levels kLevels{quant::kIq4Values, kByteOffset};

  template <bool kFull>
  INFERNODE_INLINE static Ints weights(const Block* blocks) {
    return lookup(load_table(kLevels.stored), load_nibbles<kFull>(blocks));
  }
};

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
