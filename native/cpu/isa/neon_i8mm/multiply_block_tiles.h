// Products of many tokens with weights in blocks of 32 and a8_32 activations, by squares: with the bits of multiply_blocks.h,
// for integers are exact however they are added up, and what follows them is the same.
#pragma once

#include "cpu/isa/neon_i8mm/squares.h"
#include "cpu/kernels/signed_lanes.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

constexpr size_t kBlockPairs = 3;  // of tokens in a tile: 12 registers of squares and 12 of sums
constexpr size_t kBlockVectorBytes = 4 * kPanelGroups * kRowPairs * kVectorBytes;
static_assert(kPanelBytes - kCopyBytes >= kPanelValues / 32 * (kBlockVectorBytes + 2 * kPanelRows * sizeof(float)));

// As BlockPanel, but for the weights: [block][8 values][kPanelGroups][row pair][2 rows].
template <class Type>
[[gnu::noinline]] void unpack_row_pairs(const RowGroup& rows, size_t g, size_t n_blocks, const BlockPanel& panel) {
  constexpr size_t block_bytes = sizeof(typename Type::Block);
  for (size_t b = 0; b < n_blocks; b++) {
    Ints w[kLanes];
#pragma GCC unroll 8
    for (size_t i = 0; i < kLanes; i++) w[i] = SignedLanes<Type>::template weights<true>(block_of<Type>(rows.at(i), b));
    store_row_pairs(w, g, panel.weights + b * kBlockVectorBytes);
    const size_t at = (b * kPanelGroups + g) * kLanes, offset = b * block_bytes;
    store_floats(panel.scales + at, Type::scales(rows, offset));
    if constexpr (Type::kHasMin) store_floats(panel.mins + at, Type::mins(rows, offset));
  }
}

template <bool kHasMin>
struct BlockSquares {
  const BlockPanel& panel;
  const Rows& x;
  size_t first_block, n_blocks, n_groups;
  float* sums;  // of the panel's first row
  Ahead& ahead;
  size_t fetched_lines;  // per block

  template <size_t kPairs>
  INFERNODE_INLINE void add_block(const A8_32* const (&blocks)[2 * kPairs], size_t g, size_t b,
                                  Floats (&acc)[2 * kPairs]) const {
    const int8_t* values[2 * kPairs];
#pragma GCC unroll 8
    for (size_t t = 0; t < 2 * kPairs; t++) values[t] = blocks[t][b].values;
    Square squares[kPairs][kRowPairs] = {};
    const std::byte* weights = panel.weights + b * kBlockVectorBytes + g * kRowPairs * kVectorBytes;
    add_16<kPairs>(values, 0, weights, squares);
    add_16<kPairs>(values, 16, weights + kBlockVectorBytes / 2, squares);
    const Floats dw = load_floats(panel.scales + (b * kPanelGroups + g) * kLanes);
#pragma GCC unroll 4
    for (size_t p = 0; p < kPairs; p++) {
      acc[2 * p] = multiply_add(to_floats(sums_of_first(squares[p])), dw * all_floats(blocks[2 * p][b].scale), acc[2 * p]);
      acc[2 * p + 1] =
          multiply_add(to_floats(sums_of_second(squares[p])), dw * all_floats(blocks[2 * p + 1][b].scale), acc[2 * p + 1]);
    }
    if constexpr (kHasMin) {
      const Floats mw = load_floats(panel.mins + (b * kPanelGroups + g) * kLanes);
#pragma GCC unroll 8
      for (size_t t = 0; t < 2 * kPairs; t++)
        acc[t] = multiply_add(to_floats(all_ints(blocks[t][b].sum)), mw * all_floats(blocks[t][b].scale), acc[t]);
    }
  }

  template <size_t kPairs>
  [[gnu::noinline]] void run(size_t first_pair) const {
    const PairedTokens<kPairs> tokens(first_pair, x.n);
    const A8_32* blocks[2 * kPairs];
#pragma GCC unroll 8
    for (size_t t = 0; t < 2 * kPairs; t++) blocks[t] = a8_32_row(x.data + tokens.index[t] * x.stride) + first_block;
    for (size_t g = 0; g < n_groups; g++) {
      const size_t lines = g == 0 && fetches(2 * first_pair, x.n, 2 * kBlockPairs) ? fetched_lines : 0;
      Floats acc[2 * kPairs];
#pragma GCC unroll 8
      for (size_t t = 0; t < 2 * kPairs; t++) acc[t] = load_floats(sums + tokens.index[t] * kItemRows + g * kLanes);
      for (size_t b = 0; b < n_blocks; b++) {
        ahead.fetch_lines(lines);
        add_block<kPairs>(blocks, g, b, acc);
      }
#pragma GCC unroll 8
      for (size_t t = 0; t < 2 * kPairs; t++) store_floats(sums + tokens.index[t] * kItemRows + g * kLanes, acc[t]);
    }
  }
};

template <class Type>
void multiply_block_tiles(const Product& p) {
  constexpr size_t block_bytes = sizeof(typename Type::Block);
  const BlockPanel panel = block_panel(p, kPanelValues / 32 * kBlockVectorBytes);
  for_panels<block_bytes, 32>(
      p, [&](const RowGroup& rows, size_t g, size_t n) { unpack_row_pairs<Type>(rows, g, n, panel); },
      [&](size_t first, size_t b, size_t n, Ahead& ahead) {
        const size_t lines = lines_per_block(n * block_bytes * kPanelRows, n, p.x.n, 2 * kBlockPairs);
        for_tokens<kBlockPairs>((p.x.n + 1) / 2, BlockSquares<Type::kHasMin>{
                                                     panel, p.x, b, n, groups_of(p, first), p.sums + first, ahead, lines});
      });
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
