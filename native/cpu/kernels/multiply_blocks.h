// Products with weights in blocks of 32 with one scale (q8_0, q4_0, q5_0, iq4_nl, mxfp4) or a scale and a minimum (q4_1, q5_1)
// and a8_32 activations.
// The contract: per output and block, the exact int32 sum I, then acc = fma(float(I), dw * da, acc) and, where there is a
// minimum, acc = fma(float(the activations' sum), mw * da, acc); blocks in increasing k.
// Stored weights are unsigned with an offset, so I starts at -offset * (the activations' sum).
#pragma once

#include "cpu/kernels/multiply.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

template <class Type>
INFERNODE_INLINE const typename Type::Block* block_of(const std::byte* row, size_t b) {
  return reinterpret_cast<const typename Type::Block*>(row) + b;
}

// ---- one token: the blocks are read as they lie in the file, kLanes rows at once

template <class Type, bool kFullStep>
INFERNODE_INLINE void stream_step(const RowGroup& rows, size_t b, const A8_32* x, Ahead& ahead, Floats& acc) {
  constexpr size_t blocks = kFullStep ? kStep / 32 : 1, second = blocks - 1, block_bytes = sizeof(typename Type::Block);
  ahead.fetch<kLanes * blocks * block_bytes>();
  const Ints activations = load_pieces<kFullStep>(x[b].values, x[b + second].values);
  Ints parts[kLanes], dots[kStep / 32];
#pragma GCC unroll 16
  for (size_t i = 0; i < kLanes; i++)
    parts[i] = dot4<chain_of(Type::kStored)>(Type::template weights<kFullStep>(block_of<Type>(rows.at(i), b)), activations);
  sums_of_32(parts, dots);
  for (size_t j = 0; j < blocks; j++) {
    const Floats dw = Type::scales(rows, (b + j) * block_bytes), da = all_floats(x[b + j].scale);
    const Ints sum = Type::kOffset ? dots[j] + all_ints(-Type::kOffset * x[b + j].sum) : dots[j];
    acc = multiply_add(to_floats(sum), dw * da, acc);
    if constexpr (Type::kHasMin)
      acc = multiply_add(to_floats(all_ints(x[b + j].sum)), Type::mins(rows, (b + j) * block_bytes) * da, acc);
  }
}

template <class Type>
[[gnu::noinline]] void stream_blocks(const RowGroup& rows, size_t n_blocks, const A8_32* x, Ahead ahead, float* sums) {
  Floats acc = load_floats(sums);
  size_t b = 0;
  for (; b + kStep / 32 <= n_blocks; b += kStep / 32) stream_step<Type, true>(rows, b, x, ahead, acc);
  if constexpr (kStep > 32)
    if (b < n_blocks) stream_step<Type, false>(rows, b, x, ahead, acc);
  store_floats(sums, acc);
}

// ---- several tokens: weights are turned, so that four consecutive values of each row are in a lane

template <class Type, bool kFullStep>
INFERNODE_INLINE void turn_step(const RowGroup& rows, size_t b, Ints (&w)[kLanes]) {
#ifdef INFERNODE_TURNS_PACKED
  if constexpr (kTurnsNibbles<Type> || kTurnsBytes<Type>) {
    using Block = typename Type::Block;
    constexpr size_t blocks = kFullStep ? kStep / 32 : 1;
#pragma GCC unroll 2
    for (size_t i = 0; i < blocks; i++) {
      const size_t offset = (b + i) * sizeof(Block) + offsetof(Block, q);
      Ints* block = w + i * 8;
      if constexpr (kTurnsBytes<Type>) {
        Ints words[8];
        load_turned(rows, offset, words);
#pragma GCC unroll 8
        for (size_t j = 0; j < 8; j++) block[j] = words[j] ^ all_ints(Type::kFlip);
      } else {
        Ints words[4];  // values j and j + 16 share a byte
        load_words(rows, offset, words);
#pragma GCC unroll 4
        for (size_t j = 0; j < 4; j++) {
          block[j] = words[j] & 0x0f0f0f0f;
          block[j + 4] = (words[j] >> 4) & 0x0f0f0f0f;
        }
      }
    }
    return;
  }
#endif
#pragma GCC unroll 16
  for (size_t i = 0; i < kLanes; i++) w[i] = Type::template weights<kFullStep>(block_of<Type>(rows.at(i), b));
  transpose(w);
}

// ---- few tokens: turned weights are used for all of them while they are in registers

template <class Type, bool kFullStep>
INFERNODE_INLINE void few_step(const RowGroup& rows, size_t b, const A8_32* const* x, size_t x_b, size_t n_tokens, Ahead& ahead,
                               float* sums) {
  constexpr size_t blocks = kFullStep ? kStep / 32 : 1, block_bytes = sizeof(typename Type::Block);
  ahead.fetch<kLanes * blocks * block_bytes>();
  Ints w[kLanes];
  turn_step<Type, kFullStep>(rows, b, w);
  Floats dw[blocks], mw[blocks];
  for (size_t j = 0; j < blocks; j++) {
    dw[j] = Type::scales(rows, (b + j) * block_bytes);
    if constexpr (Type::kHasMin) mw[j] = Type::mins(rows, (b + j) * block_bytes);
  }
  for (size_t t = 0; t < n_tokens; t++, sums += kItemRows) {
    const A8_32* block = opaque(x[t] + x_b);
    Floats acc = load_floats(sums);
#pragma GCC unroll 2
    for (size_t j = 0; j < blocks; j++) {
      const int8_t* values[1] = {block[j].values};
      constexpr size_t chain = chain_of(Type::kStored);
      Ints dots[1][1] = {};
      add_dots<chain, 8>(TurnedWeights<chain>{w + j * 8}, values, 0, dots);
      const Ints sum = Type::kOffset ? dots[0][0] + offset_dots<chain>(block[j].sum, Type::kOffset) : dots[0][0];
      const Floats da = all_floats(block[j].scale);
      acc = multiply_add(to_floats(sum), dw[j] * da, acc);
      if constexpr (Type::kHasMin) acc = multiply_add(to_floats(all_ints(block[j].sum)), mw[j] * da, acc);
    }
    store_floats(sums, acc);
  }
}

// The addresses of sixteen rows are better made anew, those of eight kept.
template <class Type, bool kFullStep>
INFERNODE_INLINE void few_blocks_step(const RowGroup& rows, size_t b, const A8_32* const* x, size_t n_tokens, Ahead& ahead,
                                      float* sums) {
  if constexpr (kLanes > 8)
    few_step<Type, kFullStep>(rows.from(b * sizeof(typename Type::Block)), 0, x, b, n_tokens, ahead, sums);
  else
    few_step<Type, kFullStep>(rows, b, x, b, n_tokens, ahead, sums);
}

template <class Type, bool kOneToken>
[[gnu::noinline]] void few_blocks(const RowGroup& rows, size_t n_blocks, const Rows& x, size_t first, Ahead ahead, float* sums) {
  const size_t n_tokens = kOneToken ? 1 : x.n;
  const A8_32* tokens[kOneToken ? 1 : kFewTokens];
  for (size_t t = 0; t < n_tokens; t++) tokens[t] = a8_32_row(x.data + t * x.stride) + first;
  size_t b = 0;
  for (; b + kStep / 32 <= n_blocks; b += kStep / 32) few_blocks_step<Type, true>(rows, b, tokens, n_tokens, ahead, sums);
  if constexpr (kStep > 32)
    if (b < n_blocks) few_blocks_step<Type, false>(rows, b, tokens, n_tokens, ahead, sums);
}

// ---- many tokens: a panel of turned weights, used for all of them

struct BlockPanel {
  std::byte* weights;    // [block][8][kPanelGroups], as PanelWeights has them
  float *scales, *mins;  // [block][kPanelGroups][kLanes]
};
INFERNODE_INLINE BlockPanel block_panel(const Product& p, size_t weight_bytes) {
  float* const scales = reinterpret_cast<float*>(p.panel + weight_bytes);
  return {p.panel, scales, scales + kPanelValues / 32 * kPanelRows};
}

template <class Type, bool kFullStep>
INFERNODE_INLINE void unpack_step(const RowGroup& group, size_t g, size_t b, const BlockPanel& panel) {
  constexpr size_t blocks = kFullStep ? kStep / 32 : 1, block_bytes = sizeof(typename Type::Block);
  const RowGroup rows = group.from(b * block_bytes);
  Ints w[kLanes];
  turn_step<Type, kFullStep>(rows, 0, w);
#pragma GCC unroll 16
  for (size_t j = 0; j < blocks * 8; j++) PanelWeights<chain_of(Type::kStored)>::store(w[j], panel.weights, b * 8 + j, g);
  for (size_t j = 0; j < blocks; j++) {
    const size_t at = ((b + j) * kPanelGroups + g) * kLanes, offset = j * block_bytes;
    const Floats dw = Type::scales(rows, offset);
    if constexpr (Type::kHasMin) store_floats(panel.mins + at, Type::mins(rows, offset));
    store_floats(panel.scales + at, dw);
  }
}

template <class Type>
[[gnu::noinline]] void unpack_blocks(const RowGroup& rows, size_t g, size_t n_blocks, const BlockPanel& to) {
  const BlockPanel panel = to;  // which no store to it can change
  size_t b = 0;
  for (; b + kStep / 32 <= n_blocks; b += kStep / 32) unpack_step<Type, true>(rows, g, b, panel);
  if constexpr (kStep > 32)
    if (b < n_blocks) unpack_step<Type, false>(rows, g, b, panel);
}

// The same for all types of a form: with or without minimums, and adding so many pairs in 16 bits.
template <size_t kChain, bool kHasMin>
struct BlockTile {
  const BlockPanel& panel;
  const Rows& x;
  size_t first_block, n_blocks;
  int32_t offset;
  float* sums;  // of the panel's first row
  Ahead& ahead;
  size_t fetched_lines;  // per block

  template <size_t kTokens>
  [[gnu::noinline]] void run(size_t token) const {
    const A8_32* blocks[kTokens];
    Floats acc[kPanelGroups][kTokens];
#pragma GCC unroll 16
    for (size_t t = 0; t < kTokens; t++) {
      blocks[t] = a8_32_row(x.data + (token + t) * x.stride) + first_block;
      for (size_t g = 0; g < kPanelGroups; g++) acc[g][t] = load_floats(sums + (token + t) * kItemRows + g * kLanes);
    }
    const size_t lines = fetches(token, x.n, kBlockTokens) ? fetched_lines : 0;
    for (size_t b = 0; b < n_blocks; b++) {
      ahead.fetch_lines(lines);
      const int8_t* values[kTokens];
#pragma GCC unroll 16
      for (size_t t = 0; t < kTokens; t++) {
        values[t] = blocks[t][b].values;
        __builtin_prefetch(values[t] + kTokens * x.stride, 0, 3);  // of the next tile
      }
      using Weights = PanelWeights<kChain>;
      Ints dots[kPanelGroups][kTokens] = {};
      add_dots<kChain, 8>(Weights{panel.weights + b * 8 * kPanelGroups * Weights::kBytes}, values, 0, dots);
      // Added last: sums that start with it would wait for its way from a general register.
      if constexpr (!kHasMin) {
#pragma GCC unroll 16
        for (size_t t = 0; t < kTokens; t++) {
          const Ints repair = offset_dots<kChain>(blocks[t][b].sum, offset);
          for (size_t g = 0; g < kPanelGroups; g++) dots[g][t] += repair;
        }
      }
#pragma GCC unroll 4
      for (size_t g = 0; g < kPanelGroups; g++) {
        const Floats dw = load_floats(panel.scales + (b * kPanelGroups + g) * kLanes);
#pragma GCC unroll 16
        for (size_t t = 0; t < kTokens; t++)
          acc[g][t] = multiply_add(to_floats(dots[g][t]), dw * all_floats(blocks[t][b].scale), acc[g][t]);
        if constexpr (kHasMin) {
          const Floats mw = load_floats(panel.mins + (b * kPanelGroups + g) * kLanes);
#pragma GCC unroll 16
          for (size_t t = 0; t < kTokens; t++)
            acc[g][t] = multiply_add(to_floats(all_ints(blocks[t][b].sum)), mw * all_floats(blocks[t][b].scale), acc[g][t]);
        }
      }
    }
#pragma GCC unroll 16
    for (size_t t = 0; t < kTokens; t++)
      for (size_t g = 0; g < kPanelGroups; g++) store_floats(sums + (token + t) * kItemRows + g * kLanes, acc[g][t]);
  }
};

template <class Type>
void multiply_blocks(const Product& p) {
  constexpr size_t block_bytes = sizeof(typename Type::Block);
  if (p.x.n <= kFewTokens) {
    clear_sums(p);
    for (size_t first = 0; first < p.n_rows; first += kLanes) {
      float* sums = p.sums + first;
      for_pieces<block_bytes, 32>(p, first, [&](const RowGroup& rows, size_t b, size_t n) {
        const Ahead ahead = ahead_of_rows(p, first, kLanes);
        if (p.x.n > 1) return few_blocks<Type, false>(rows, n, p.x, b, ahead, sums);
        if constexpr (kTurnsForOne<Type>)
          few_blocks<Type, true>(rows, n, p.x, b, ahead, sums);
        else
          stream_blocks<Type>(rows, n, a8_32_row(p.x.data) + b, ahead, sums);
      });
    }
    return;
  }
  constexpr size_t chain = chain_of(Type::kStored);
  const BlockPanel panel = block_panel(p, kPanelValues * kPanelRows * Prepared<chain>::kVectors);
  for_panels<block_bytes, 32>(
      p, [&](const RowGroup& rows, size_t g, size_t n) { unpack_blocks<Type>(rows, g, n, panel); },
      [&](size_t first, size_t b, size_t n, Ahead& ahead) {
        const size_t lines = lines_per_block(n * block_bytes * kPanelRows, n, p.x.n, kBlockTokens);
        for_tokens<kBlockTokens>(p.x.n, BlockTile<chain, Type::kHasMin>{
                                            panel, p.x, b, n, Type::kOffset, p.sums + first, ahead, lines});
      });
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
