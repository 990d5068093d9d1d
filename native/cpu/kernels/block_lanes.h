// What the lanes_<type>.h of similar types share: where scales lie, and how four-bit weights are read.
#pragma once

#include "int8.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

// A block of 32 with an f16 scale in front.
struct BlockLanes {
  static constexpr bool kHasMin = false;

  INFERNODE_INLINE static Floats scales(const RowGroup& rows, size_t offset) {
    return load_halves(rows, offset);
  }
};
// With an f16 minimum behind the scale, and weights that are what is stored.
struct MinBlockLanes : BlockLanes {
  static constexpr int kOffset = 0;
  static constexpr bool kHasMin = true;

  // Of one load, should both be wanted.
  INFERNODE_INLINE static Floats scales(const RowGroup& rows, size_t offset) {
    return halves_to_floats(load_word(rows, offset) & 0xffff);
  }
  INFERNODE_INLINE static Floats mins(const RowGroup& rows, size_t offset) {
    return halves_to_floats((load_word(rows, offset) >> 16) & 0xffff);
  }
};

// 32 nibbles of one block, or of two neighbours if a step has two and kFull: byte i holds value i below and value i + 16 above.
template <bool kFull, class Block>
INFERNODE_INLINE Ints load_nibbles(const Block* blocks) {
  constexpr size_t second = kFull && kStep > 32;  // where a step is one block, nothing of the next is touched
  return (load_twice<kFull>(blocks[0].q, blocks[second].q) >> for_halves(0, 4)) & 0x0f0f0f0f;
}
// The same with the fifth bits of value i in bit i of `high`.
template <bool kFull, class Block>
INFERNODE_INLINE Ints load_five_bits(const Block* blocks) {
  constexpr size_t second = kFull && kStep > 32;
  uint32_t high[2];
  __builtin_memcpy(&high[0], blocks[0].high, sizeof high[0]);
  __builtin_memcpy(&high[1], blocks[second].high, sizeof high[1]);
  return set_bits(load_nibbles<kFull>(blocks), high[0], high[1], 16);
}

// Of exactly these types the weights are what their nibbles are, and a variant may turn them packed.
template <class Type>
constexpr bool kTurnsNibbles = false;
// And of these their bytes, but for what `flip` adds.
template <class Type>
constexpr bool kTurnsBytes = false;

// For types in super-blocks that are turned packed, see multiply_super_blocks.h.
struct NeighbourSteps {
  static constexpr size_t value(size_t step, size_t half) { return step * 64 + half * 32; }
};
// Bits up by so many places, or down.
INFERNODE_INLINE Ints moved(Ints bits, int up) { return up > 0 ? bits << up : up < 0 ? bits >> -up : bits; }

// 16 levels, stored with `offset` added, for `lookup`.
struct Levels {
  int8_t stored[16];
  constexpr Levels(const int8_t (&levels)[16], int offset) : stored{} {
    for (size_t i = 0; i < 16; i++) stored[i] = static_cast<int8_t>(levels[i] + offset);
  }
};

// The header of q4_k and q5_k: f16 d and dmin, then what quant/k_scales.h unpacks one by one.
// scales[j] of sub-block j; pairs[j] (16-bit halves) is what the sums of the activations' 16s 2j and 2j + 1 are weighted with.
INFERNODE_INLINE void load_k_scales(const RowGroup& rows, size_t offset, Floats& d, Floats& dmin, Ints (&scales)[8],
                                    Ints (&pairs)[8]) {
  Ints words[4];
  load_words(rows, offset, words);
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

// What repairs the offset of stored weights: the scales times -offset, in pairs. They fit in 16 bits: 128 * 32 at most.
template <int kOffset>
INFERNODE_INLINE void pairs_of(const Ints (&scales)[16], Ints (&pairs)[8]) {
#pragma GCC unroll 8
  for (int j = 0; j < 8; j++) {
    const Ints low = scales[2 * j] * all_ints(-kOffset), high = scales[2 * j + 1] * all_ints(-kOffset);
    pairs[j] = (low & 0xffff) | (high << 16);
  }
}
template <int kOffset>
INFERNODE_INLINE void pairs_of(const Ints (&scales)[8], Ints (&pairs)[8]) {
#pragma GCC unroll 8
  for (int j = 0; j < 8; j++) {
    const Ints both = scales[j] * all_ints(-kOffset);
    pairs[j] = (both & 0xffff) | (both << 16);
  }
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
