// Products with weights in super-blocks of 256 with integer sub-block scales (the K-quants, iq4_xs) and a8_256 activations.
// The contract: per output and super-block, S = Σ scale_j * I_j and M = Σ min_j * (the activations' sum over j), exact in
// int32, then acc = fma(float(S), d * da, acc) and, where there are minimums, acc = fma(-float(M), dmin * da, acc); k
// increases.
#pragma once

#include "cpu/kernels/multiply_blocks.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

// offset: what stored weights have too much; m holds the sums that repair it where there are no minimums.
template <bool kHasMin>
INFERNODE_INLINE void add_super_block(Ints s, Ints m, int32_t offset, Floats d, Floats dmin, float x_scale, Floats& acc) {
  const Floats da = all_floats(x_scale);
  if constexpr (kHasMin) {
    acc = multiply_add(to_floats(s), d * da, acc);
    acc = multiply_add(-to_floats(m), dmin * da, acc);
  } else {
    acc = multiply_add(to_floats(s - m * offset), d * da, acc);
  }
}

// ---- one token

template <class Type, bool kFullRows>
[[gnu::noinline]] void stream_super_blocks(const RowGroup& rows, size_t n_blocks, const A8_256Row& x, float* sums) {
  using Block = typename Type::Block;
  constexpr size_t n_subs = 256 / Type::kSubValues, steps = 256 / kStep, step_subs = kStep / Type::kSubValues;
  Floats acc = {};
  for (size_t b = 0; b < n_blocks; b++) {
    Floats d, dmin = {};
    Ints scales[n_subs], pairs[8], s = {}, m = {};
    Type::template header<kFullRows>(rows, b * sizeof(Block), d, dmin, scales, pairs);
#pragma GCC unroll 8
    for (size_t j = 0; j < 8; j++) m = add_pairs(m, pairs[j], all_of(x.sums + b * 16 + j * 2));
#pragma GCC unroll 8
    for (size_t step = 0; step < steps; step++) {
      prefetch_next<sizeof(Block), steps>(rows, b * sizeof(Block), step);
      const Ints activations = load_ints(x.values + b * 256 + step * kStep);
      Ints parts[kLanes], dots[step_subs];
#pragma GCC unroll 16
      for (size_t i = 0; i < kLanes; i++)
        parts[i] = dot4<chain_of(Type::kStored)>(Type::weights(*block_of<Type>(rows.at<kFullRows>(i), b), step), activations);
      if constexpr (Type::kSubValues == 32)
        sums_of_32(parts, dots);
      else
        sums_of_16(parts, dots);
#pragma GCC unroll 4
      for (size_t j = 0; j < step_subs; j++) s += dots[j] * scales[step * step_subs + j];
    }
    add_super_block<Type::kHasMin>(s, m, Type::kOffset, d, dmin, x.scales[b], acc);
  }
  store_floats(sums, acc);
}

// ---- several tokens

struct SuperPanel {
  std::byte* weights;  // [super-block][64][kPanelGroups][kLanes * 4]
  std::byte* scales;   // [super-block][sub-block][kPanelGroups][kLanes], packed
  std::byte* pairs;    // [super-block][8][kPanelGroups][kLanes]
  float *d, *dmin;     // [super-block][kPanelGroups][kLanes]
};

template <class Type, bool kFullRows>
[[gnu::noinline]] void unpack_super_blocks(const RowGroup& rows, size_t g, size_t first, size_t n_blocks,
                                           const SuperPanel& panel) {
  using Block = typename Type::Block;
  constexpr size_t n_subs = 256 / Type::kSubValues;
  for (size_t b = 0; b < n_blocks; b++) {
    const size_t offset = (first + b) * sizeof(Block);
    Floats d, dmin = {};
    Ints scales[n_subs], pairs[8];
    Type::template header<kFullRows>(rows, offset, d, dmin, scales, pairs);
    store_floats(panel.d + (b * kPanelGroups + g) * kLanes, d);
    store_floats(panel.dmin + (b * kPanelGroups + g) * kLanes, dmin);
#pragma GCC unroll 16
    for (size_t j = 0; j < n_subs; j++)
      store_ints(panel.scales + ((b * n_subs + j) * kPanelGroups + g) * sizeof(Ints), packed_scale(scales[j]));
#pragma GCC unroll 8
    for (size_t j = 0; j < 8; j++) store_ints(panel.pairs + ((b * 8 + j) * kPanelGroups + g) * sizeof(Ints), pairs[j]);
#pragma GCC unroll 8
    for (size_t step = 0; step < 256 / kStep; step++) {
      prefetch_next<sizeof(Block), 256 / kStep>(rows, offset, step);
      Ints w[kLanes];
#pragma GCC unroll 16
      for (size_t i = 0; i < kLanes; i++) w[i] = Type::weights(*block_of<Type>(rows.at<kFullRows>(i), first + b), step);
      transpose(w);
#pragma GCC unroll 16
      for (size_t j = 0; j < kLanes; j++)
        store_ints(panel.weights + ((b * 64 + step * (kStep / 4) + j) * kPanelGroups + g) * sizeof(Ints), w[j]);
    }
  }
}

// The same for all types of a form, as of blocks.
template <size_t kChain, size_t kSubValues, bool kHasMin>
struct SuperTile {
  const SuperPanel& panel;
  const Rows& x;
  size_t first_block, n_blocks;
  int32_t offset;
  float* sums;

  template <size_t kTokens>
  [[gnu::noinline]] void run(size_t token) const {
    constexpr size_t n_subs = 256 / kSubValues, runs = kSubValues / 4, group_bytes = kPanelGroups * sizeof(Ints);
    A8_256Row rows[kTokens];
    const int8_t* values[kTokens];
#pragma GCC unroll 16
    for (size_t t = 0; t < kTokens; t++) {
      rows[t] = a8_256_row(x.data + (token + t) * x.stride, x.width);
      values[t] = rows[t].values + first_block * 256;
    }
    for (size_t b = 0; b < n_blocks; b++) {
      Ints s[kPanelGroups][kTokens] = {};
      for (size_t j = 0; j < n_subs; j++) {
        Ints scale[kPanelGroups];
#pragma GCC unroll 4
        for (size_t g = 0; g < kPanelGroups; g++)
          scale[g] = load_ints(panel.scales + (b * n_subs + j) * group_bytes + g * sizeof(Ints));
        add_scaled_dots<kChain, runs>(panel.weights + (b * 64 + j * runs) * group_bytes, values, b * 256 + j * kSubValues, scale,
                                      s);
      }
#pragma GCC unroll 4
      for (size_t g = 0; g < kPanelGroups; g++) {
        const Floats d = load_floats(panel.d + (b * kPanelGroups + g) * kLanes);
        const Floats dmin = load_floats(panel.dmin + (b * kPanelGroups + g) * kLanes);
#pragma GCC unroll 16
        for (size_t t = 0; t < kTokens; t++) {
          Ints m = {};
#pragma GCC unroll 8
          for (size_t j = 0; j < 8; j++)
            m = add_pairs(m, load_ints(panel.pairs + (b * 8 + j) * group_bytes + g * sizeof(Ints)),
                          all_of(rows[t].sums + (first_block + b) * 16 + j * 2));
          // The accumulators are touched once per 256 values: they stay in memory, the registers are for the integers.
          float* sum = sums + (token + t) * kItemRows + g * kLanes;
          Floats acc = load_floats(sum);
          add_super_block<kHasMin>(s[g][t], m, offset, d, dmin, rows[t].scales[first_block + b], acc);
          store_floats(sum, acc);
        }
      }
    }
  }
};

template <class Type>
void multiply_super_blocks(const Product& p) {
  const size_t n_blocks = p.weight.cols / 256;
  if (p.x.n <= kStreamedTokens) {
    for (size_t first = 0; first < p.n_rows; first += kLanes) {
      const RowGroup rows = row_group(p, first);
      const auto stream = rows.last + 1 == kLanes ? stream_super_blocks<Type, true> : stream_super_blocks<Type, false>;
      for (size_t t = 0; t < p.x.n; t++)
        stream(rows, n_blocks, a8_256_row(p.x.data + t * p.x.stride, p.x.width), p.sums + t * kItemRows + first);
    }
    return;
  }
  const size_t per_panel = panel_values(p.x.n) / 256, row_floats = per_panel * kPanelRows;
  SuperPanel panel;
  panel.weights = p.panel;
  panel.scales = panel.weights + row_floats * 256;
  panel.pairs = panel.scales + row_floats * 16 * sizeof(int32_t);
  panel.d = reinterpret_cast<float*>(panel.pairs + row_floats * 8 * sizeof(int32_t));
  panel.dmin = panel.d + row_floats;
  for (size_t first = 0; first < p.n_rows; first += kPanelRows) {
    float* sums = p.sums + first;
    for (size_t t = 0; t < p.x.n; t++)
      for (size_t g = 0; g < kPanelGroups; g++) store_floats(sums + t * kItemRows + g * kLanes, Floats{});
    for (size_t b = 0; b < n_blocks; b += per_panel) {
      const size_t n = n_blocks - b < per_panel ? n_blocks - b : per_panel;
      for (size_t g = 0; g < kPanelGroups && first + g * kLanes < p.n_rows; g++) {
        const RowGroup rows = row_group(p, first + g * kLanes);
        (rows.last + 1 == kLanes ? unpack_super_blocks<Type, true> : unpack_super_blocks<Type, false>)(rows, g, b, n, panel);
      }
      const SuperTile<chain_of(Type::kStored), Type::kSubValues, Type::kHasMin> tile{panel, p.x, b, n, Type::kOffset, sums};
      for_tokens<kSuperTokens>(p.x.n, tile);
    }
  }
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
