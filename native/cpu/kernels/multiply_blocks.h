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

template <class Type, bool kFullRows, bool kFullStep>
INFERNODE_INLINE void stream_step(const RowGroup& rows, size_t b, const A8_32Row& x, Floats& acc) {
  constexpr size_t blocks = kFullStep ? kStep / 32 : 1, block_bytes = sizeof(typename Type::Block);
  prefetch_next<blocks * block_bytes>(rows, b * block_bytes);
  const Ints activations = load_activations<kFullStep>(x.values + b * 32);
  Ints parts[kLanes], dots[kStep / 32];
#pragma GCC unroll 16
  for (size_t i = 0; i < kLanes; i++)
    parts[i] = dot4<chain_of(Type::kStored)>(Type::template weights<kFullStep>(block_of<Type>(rows.at<kFullRows>(i), b)), activations);
  sums_of_32(parts, dots);
  for (size_t j = 0; j < blocks; j++) {
    const Floats dw = Type::template scales<kFullRows>(rows, (b + j) * block_bytes), da = all_floats(x.scales[b + j]);
    const Ints sum = Type::kOffset ? dots[j] + all_ints(-Type::kOffset * x.sums[b + j]) : dots[j];
    acc = multiply_add(to_floats(sum), dw * da, acc);
    if constexpr (Type::kHasMin)
      acc = multiply_add(to_floats(all_ints(x.sums[b + j])), Type::template mins<kFullRows>(rows, (b + j) * block_bytes) * da, acc);
  }
}

template <class Type, bool kFullRows>
[[gnu::noinline]] void stream_blocks(const RowGroup& rows, size_t n_blocks, const A8_32Row& x, float* sums) {
  Floats acc = {};
  size_t b = 0;
  for (; b + kStep / 32 <= n_blocks; b += kStep / 32) stream_step<Type, kFullRows, true>(rows, b, x, acc);
  if constexpr (kStep > 32)
    if (b < n_blocks) stream_step<Type, kFullRows, false>(rows, b, x, acc);
  store_floats(sums, acc);
}

// ---- several tokens: a panel of weights, four consecutive values of each row in a lane, used for all of them

struct BlockPanel {
  std::byte* weights;    // [block][8][kPanelGroups][kLanes * 4]
  float *scales, *mins;  // [block][kPanelGroups][kLanes]
};

template <class Type, bool kFullRows, bool kFullStep>
INFERNODE_INLINE void unpack_step(const RowGroup& rows, size_t g, size_t b, size_t panel_block, const BlockPanel& panel) {
  constexpr size_t blocks = kFullStep ? kStep / 32 : 1, block_bytes = sizeof(typename Type::Block);
  prefetch_next<blocks * block_bytes>(rows, b * block_bytes);
  Ints w[kLanes];
#pragma GCC unroll 16
  for (size_t i = 0; i < kLanes; i++) w[i] = Type::template weights<kFullStep>(block_of<Type>(rows.at<kFullRows>(i), b));
  transpose(w);
#pragma GCC unroll 16
  for (size_t j = 0; j < blocks * 8; j++)
    store_ints(panel.weights + ((panel_block * 8 + j) * kPanelGroups + g) * sizeof(Ints), w[j]);
  for (size_t j = 0; j < blocks; j++) {
    const size_t at = ((panel_block + j) * kPanelGroups + g) * kLanes, offset = (b + j) * block_bytes;
    store_floats(panel.scales + at, Type::template scales<kFullRows>(rows, offset));
    if constexpr (Type::kHasMin) store_floats(panel.mins + at, Type::template mins<kFullRows>(rows, offset));
  }
}

template <class Type, bool kFullRows>
[[gnu::noinline]] void unpack_blocks(const RowGroup& rows, size_t g, size_t first, size_t n_blocks, const BlockPanel& panel) {
  size_t b = 0;
  for (; b + kStep / 32 <= n_blocks; b += kStep / 32) unpack_step<Type, kFullRows, true>(rows, g, first + b, b, panel);
  if constexpr (kStep > 32)
    if (b < n_blocks) unpack_step<Type, kFullRows, false>(rows, g, first + b, b, panel);
}

// The same for all types of a form: with or without minimums, and adding so many pairs in 16 bits.
template <size_t kChain, bool kHasMin>
struct BlockTile {
  const BlockPanel& panel;
  const Rows& x;
  size_t first_block, n_blocks;
  int32_t offset;
  float* sums;  // of the panel's first row

  template <size_t kTokens>
  [[gnu::noinline]] void run(size_t token) const {
    const int8_t* values[kTokens];
    const float* scales[kTokens];
    const int32_t* x_sums[kTokens];
    Floats acc[kPanelGroups][kTokens];
#pragma GCC unroll 16
    for (size_t t = 0; t < kTokens; t++) {
      const A8_32Row row = a8_32_row(x.data + (token + t) * x.stride, x.width);
      values[t] = row.values + first_block * 32;
      scales[t] = row.scales + first_block;
      x_sums[t] = row.sums + first_block;
      for (size_t g = 0; g < kPanelGroups; g++) acc[g][t] = load_floats(sums + (token + t) * kItemRows + g * kLanes);
    }
    for (size_t b = 0; b < n_blocks; b++) {
      Ints dots[kPanelGroups][kTokens];
#pragma GCC unroll 16
      for (size_t t = 0; t < kTokens; t++)
        for (size_t g = 0; g < kPanelGroups; g++) dots[g][t] = all_ints(kHasMin ? 0 : -offset * x_sums[t][b]);
      add_dots<kChain, 8>(panel.weights + b * 8 * kPanelGroups * sizeof(Ints), values, b * 32, dots);
#pragma GCC unroll 4
      for (size_t g = 0; g < kPanelGroups; g++) {
        const Floats dw = load_floats(panel.scales + (b * kPanelGroups + g) * kLanes);
#pragma GCC unroll 16
        for (size_t t = 0; t < kTokens; t++)
          acc[g][t] = multiply_add(to_floats(dots[g][t]), dw * all_floats(scales[t][b]), acc[g][t]);
        if constexpr (kHasMin) {
          const Floats mw = load_floats(panel.mins + (b * kPanelGroups + g) * kLanes);
#pragma GCC unroll 16
          for (size_t t = 0; t < kTokens; t++)
            acc[g][t] = multiply_add(to_floats(all_ints(x_sums[t][b])), mw * all_floats(scales[t][b]), acc[g][t]);
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
  const size_t n_blocks = p.weight.cols / 32;
  if (p.x.n <= kStreamedTokens) {
    for (size_t first = 0; first < p.n_rows; first += kLanes) {
      const RowGroup rows = row_group(p, first);
      const auto stream = rows.last + 1 == kLanes ? stream_blocks<Type, true> : stream_blocks<Type, false>;
      for (size_t t = 0; t < p.x.n; t++)
        stream(rows, n_blocks, a8_32_row(p.x.data + t * p.x.stride, p.x.width), p.sums + t * kItemRows + first);
    }
    return;
  }
  const size_t per_panel = panel_values(p.x.n) / 32;
  float* const scales = reinterpret_cast<float*>(p.panel + per_panel * 32 * kPanelRows);
  const BlockPanel panel{p.panel, scales, scales + per_panel * kPanelRows};
  for (size_t first = 0; first < p.n_rows; first += kPanelRows) {
    float* sums = p.sums + first;
    for (size_t t = 0; t < p.x.n; t++)
      for (size_t g = 0; g < kPanelGroups; g++) store_floats(sums + t * kItemRows + g * kLanes, Floats{});
    for (size_t b = 0; b < n_blocks; b += per_panel) {
      const size_t n = n_blocks - b < per_panel ? n_blocks - b : per_panel;
      for (size_t g = 0; g < kPanelGroups && first + g * kLanes < p.n_rows; g++) {
        const RowGroup rows = row_group(p, first + g * kLanes);
        (rows.last + 1 == kLanes ? unpack_blocks<Type, true> : unpack_blocks<Type, false>)(rows, g, b, n, panel);
      }
      const BlockTile<chain_of(Type::kStored), Type::kHasMin> tile{panel, p.x, b, n, Type::kOffset, sums};
      for_tokens<kBlockTokens>(p.x.n, tile);
    }
  }
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
