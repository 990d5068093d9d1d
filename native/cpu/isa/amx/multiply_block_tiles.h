// Products with weights in blocks of 32 and a8_32 activations, by tiles: one product of 16 tokens, 32 values and 16 weight rows
// per block, whose sums then take the contract's float steps. Those bound it: three vector instructions for 16 sums.
#pragma once

#include "cpu/isa/amx/multiply_tiles.h"
#include "cpu/kernels/signed_lanes.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

constexpr size_t kTilePanelBlocks = kPanelValues / 32;

// What belongs to the blocks of a panel, for the tokens of a tile, turned so that a block's lie together.
struct TokenScales {
  float scales[kTilePanelBlocks][kTileRows];
  int32_t sums[kTilePanelBlocks][kTileRows];
};

template <bool kHasMin>
struct BlockTiles {
  const BlockPanel& panel;
  const Rows& x;
  size_t first_block, n_blocks;
  float* sums;  // of the panel's first row
  Ahead& ahead;
  size_t fetched_lines;  // per block

  INFERNODE_INLINE void take_scales(size_t token, size_t n, TokenScales& tokens) const {
    for (size_t t = 0; t < n; t++) {
      const A8_32* blocks = a8_32_row(x.data + (token + t) * x.stride) + first_block;
      for (size_t b = 0; b < n_blocks; b++) {
        tokens.scales[b][t] = blocks[b].scale;
        tokens.sums[b][t] = blocks[b].sum;
      }
    }
  }

  template <int kSlot>
  INFERNODE_INLINE void multiply_block(size_t token, size_t g, size_t b, TileSums& to) const {
    zero_tile<kSlot>();
    load_tile<4 + kSlot>(a8_32_row(x.data + token * x.stride)[first_block + b].values, x.stride);
    load_tile<6 + kSlot>(panel.weights + (b * 8 * kPanelGroups + g) * sizeof(Ints), kPanelGroups * sizeof(Ints));
    add_dots<kSlot, 4 + kSlot, 6 + kSlot>();
    store_tile<kSlot>(to.of, sizeof to.of[0]);
  }

  INFERNODE_INLINE void add_block(const TileSums& dots, const TokenScales& tokens, size_t n, size_t g, size_t b,
                                  Floats (&acc)[kTileRows]) const {
    const Floats dw = load_floats(panel.scales + (b * kPanelGroups + g) * kLanes);
#pragma GCC unroll 16
    for (size_t t = 0; t < n; t++)
      acc[t] = multiply_add(to_floats(load_ints(dots.of[t])), dw * all_floats(tokens.scales[b][t]), acc[t]);
    if constexpr (kHasMin) {
      const Floats mw = load_floats(panel.mins + (b * kPanelGroups + g) * kLanes);
#pragma GCC unroll 16
      for (size_t t = 0; t < n; t++)
        acc[t] = multiply_add(to_floats(all_ints(tokens.sums[b][t])), mw * all_floats(tokens.scales[b][t]), acc[t]);
    }
  }

  // n tokens (all that a tile has: kFull) and the rows of one group. The tiles work on a block while the one before is added.
  template <bool kFull>
  [[gnu::noinline]] void run(size_t token, size_t some, size_t g, const TokenScales& tokens) const {
    const size_t n = kFull ? kTileRows : some;
    TileSums dots[2];
    Floats acc[kTileRows];
#pragma GCC unroll 16
    for (size_t t = 0; t < n; t++) acc[t] = load_floats(sums + (token + t) * kItemRows + g * kLanes);
    const size_t lines = g == 0 && fetches(token, x.n, kTileRows) ? fetched_lines : 0;
    multiply_block<0>(token, g, 0, dots[0]);
    for (size_t b = 0; b < n_blocks; b += 2) {
      ahead.fetch_lines(2 * lines);
      if (b + 1 < n_blocks) multiply_block<1>(token, g, b + 1, dots[1]);
      add_block(dots[0], tokens, n, g, b, acc);
      if (b + 1 == n_blocks) break;
      if (b + 2 < n_blocks) multiply_block<0>(token, g, b + 2, dots[0]);
      add_block(dots[1], tokens, n, g, b + 1, acc);
    }
#pragma GCC unroll 16
    for (size_t t = 0; t < n; t++) store_floats(sums + (token + t) * kItemRows + g * kLanes, acc[t]);
  }
};

template <class Type>
void multiply_block_tiles(const Product& p) {
  constexpr size_t block_bytes = sizeof(typename Type::Block);
  const BlockPanel panel = block_panel(p, kPanelValues * kPanelRows);
  for_panels<block_bytes, 32>(
      p, [&](const RowGroup& rows, size_t g, size_t n) { unpack_blocks<SignedLanes<Type>>(rows, g, n, panel); },
      [&](size_t first, size_t b, size_t n, Ahead& ahead) {
        const BlockTiles<Type::kHasMin> tiles{
            panel, p.x, b, n, p.sums + first, ahead, lines_per_block(n * block_bytes * kPanelRows, n, p.x.n, kTileRows)};
        for_token_tiles(p.x.n, 32, [&](size_t token, size_t n_tokens) {
          TokenScales tokens;
          tiles.take_scales(token, n_tokens, tokens);
          for (size_t g = 0; g < groups_of(p, first); g++)
            n_tokens == kTileRows ? tiles.template run<true>(token, n_tokens, g, tokens)
                                  : tiles.template run<false>(token, n_tokens, g, tokens);
        });
      });
  release_tiles();
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
