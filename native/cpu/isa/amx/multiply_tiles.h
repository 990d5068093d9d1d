// Products of many tokens by tiles, with the bits of multiply_blocks.h and multiply_super_blocks.h: integers are exact however
// they are added up, and what follows them is the same.
#pragma once

#include "cpu/isa/amx/tiles.h"
#include "cpu/kernels/multiply_super_blocks.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

// From so many tokens on. Counted, not measured: a tile takes a cycle per token, a third of what vpdpbusd needs.
constexpr size_t kTileTokens = kFewTokens + 1;

INFERNODE_INLINE Ints subtract_bytes(Ints bytes, int x) {
  return Ints(_mm512_sub_epi8(__m512i(bytes), _mm512_set1_epi8(static_cast<char>(x))));
}

// The sums of a tile in memory: [token][weight row].
struct alignas(64) TileSums {
  int32_t of[kTileRows][kLanes];
};

// Calls f(first token, n) for tiles of at most kTileRows tokens, with the tiles configured for them.
template <class F>
INFERNODE_INLINE void for_token_tiles(size_t n_tokens, size_t k, F&& f) {
  for (size_t t = 0; t < n_tokens; t += kTileRows) {
    const size_t n = n_tokens - t < kTileRows ? n_tokens - t : kTileRows;
    if (t == 0 || n < kTileRows) configure_tiles(n, k);
    f(t, n);
  }
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
