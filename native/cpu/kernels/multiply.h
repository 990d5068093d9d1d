// What the vector forms of the matmul share: panels, prefetching, and choosing tiles for the tokens at hand.
#pragma once

#include "cpu/kernels/product.h"
#include "int8.h"
#include "quant/activations.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

constexpr size_t kPanelRows = kPanelGroups * kLanes;
static_assert(kItemRows % kPanelRows == 0);

// Values of K that a panel holds. Few tokens: long pieces, so that the file is read in long runs. Many: a panel that stays in
// L1 beside the activations, for each of its bytes is read once per register tile.
constexpr size_t kStreamedTokens = 2;  // so many are multiplied one by one, without a panel
constexpr size_t kFewTokens = 16;
INFERNODE_INLINE size_t panel_values(size_t n_tokens) { return n_tokens <= kFewTokens ? 4096 : 1024; }
// A super-block of 256 weights takes 256 bytes, 16 scales and 8 pairs of 4 bytes, and two f32.
constexpr size_t kPanelBytes = 4096 / 256 * (256 + 4 * 26) * kPanelRows;

// The rows of a panel: group g of at most kLanes rows.
INFERNODE_INLINE RowGroup row_group(const Product& p, size_t first) {
  const size_t n = p.n_rows - first < kLanes ? p.n_rows - first : kLanes;
  return {p.weight.data + (p.row + first) * p.weight.row_bytes, p.weight.row_bytes, n - 1};
}

// Asks for what corresponds, in the next group of rows, to kBytes of each row of this one; in kParts calls, for a burst of
// requests would stall. Rows lie one after another, so the next group is one run of memory: fetched linearly it arrives two to
// three times faster than row by row.
template <size_t kBytes, size_t kParts = 1>
INFERNODE_INLINE void prefetch_next(const RowGroup& rows, size_t row_offset, size_t part = 0) {
  constexpr size_t lines = (kLanes * kBytes / kParts + 63) / 64;
  const std::byte* next = rows.first + kLanes * (rows.row_bytes + row_offset) + kLanes * kBytes * part / kParts;
#pragma GCC unroll 32
  for (size_t line = 0; line < lines; line++) __builtin_prefetch(next + line * 64, 0, 3);
}

// Calls tile.template run<n>(first token) for n <= kTokens.
template <size_t kTokens, class Tile>
INFERNODE_INLINE void run_tile(const Tile& tile, size_t n, size_t token) {
  if constexpr (kTokens > 1)
    if (n < kTokens) return run_tile<kTokens - 1>(tile, n, token);
  tile.template run<kTokens>(token);
}
// Covers n_tokens with the fewest tiles of at most kTokens, of nearly equal sizes: a small tile cannot keep the multipliers
// busy.
template <size_t kTokens, class Tile>
INFERNODE_INLINE void for_tokens(size_t n_tokens, const Tile& tile) {
  size_t n_tiles = (n_tokens + kTokens - 1) / kTokens;
  for (size_t t = 0; n_tiles > 0; n_tiles--) {
    const size_t n = (n_tokens - t + n_tiles - 1) / n_tiles;
    run_tile<kTokens>(tile, n, t);
    t += n;
  }
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
