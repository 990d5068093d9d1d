// Products with weights in super-blocks of 256 with integer sub-block scales (the K-quants, iq4_xs) and a8_256 activations.
// The contract: per output and super-block, S = Σ scale_j * I_j and M = Σ min_j * (the activations' sum over j), exact in
// int32, then acc = fma(float(S), d * da, acc) and, where there are minimums, acc = fma(-float(M), dmin * da, acc); k
// increases.
#pragma once

#include "cpu/kernels/multiply_blocks.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

// Without minimums, `pairs` of a type repair what its stored weights have too much, in s itself, and m is nothing.
template <bool kHasMin>
INFERNODE_INLINE void add_super_block(Ints s, Ints m, Floats d, Floats dmin, float x_scale, Floats& acc) {
  const Floats da = all_floats(x_scale);
  acc = multiply_add(to_floats(s), d * da, acc);
  if constexpr (kHasMin) acc = multiply_add(-to_floats(m), dmin * da, acc);
}

// ---- one token

template <class Type>
[[gnu::noinline]] void stream_super_blocks(const RowGroup& rows, size_t n_blocks, const A8_256* x, Ahead ahead, float* sums) {
  using Block = typename Type::Block;
  constexpr size_t n_subs = 256 / Type::kSubValues, steps = 256 / kStep, step_subs = kStep / Type::kSubValues;
  Floats acc = load_floats(sums);
  for (size_t b = 0; b < n_blocks; b++) {
    Floats d, dmin = {};
    Ints scales[n_subs], pairs[8], s = {}, m = {};
    Type::header(rows, b * sizeof(Block), d, dmin, scales, pairs);
    Ints& paired = Type::kHasMin ? m : s;
#pragma GCC unroll 8
    for (size_t j = 0; j < 8; j++) paired = add_pairs(paired, pairs[j], all_of(x[b].sums + j * 2));
#pragma GCC unroll 8
    for (size_t step = 0; step < steps; step++) {
      ahead.fetch<kLanes * sizeof(Block) / steps>();
      const Ints activations = load_ints(x[b].values + step * kStep);
      Ints parts[kLanes], dots[step_subs];
#pragma GCC unroll 16
      for (size_t i = 0; i < kLanes; i++)
        parts[i] = dot4<chain_of(Type::kStored)>(Type::weights(*block_of<Type>(rows.at(i), b), step), activations);
      if constexpr (Type::kSubValues == 32)
        sums_of_32(parts, dots);
      else
        sums_of_16(parts, dots);
#pragma GCC unroll 4
      for (size_t j = 0; j < step_subs; j++) s += dots[j] * scales[step * step_subs + j];
    }
    add_super_block<Type::kHasMin>(s, m, d, dmin, x[b].scale, acc);
  }
  store_floats(sums, acc);
}

// ---- several tokens

// Values step * kStep … of super-block b, turned.
template <class Type>
INFERNODE_INLINE void turn_step(const RowGroup& rows, size_t b, size_t step, Ints (&w)[kLanes]) {
#pragma GCC unroll 16
  for (size_t i = 0; i < kLanes; i++) w[i] = Type::weights(*block_of<Type>(rows.at(i), b), step);
  transpose(w);
}
// Turns the steps of a super-block one after another. A type that is turned packed has a PackedSteps of its own, whose halves
// of a step need not be neighbours.
template <class Type>
struct Steps {
  // Of the first word of that half of a step.
  static constexpr size_t value(size_t step, size_t half) { return step * kStep + half * (kStep / 2); }
  INFERNODE_INLINE void turn(const RowGroup& rows, size_t b, size_t step, Ints (&w)[kLanes]) { turn_step<Type>(rows, b, step, w); }
};
#ifdef INFERNODE_TURNS_PACKED
template <class Type>
  requires requires { typename Type::PackedSteps; }
struct Steps<Type> : Type::PackedSteps {
  INFERNODE_INLINE void turn(const RowGroup& rows, size_t b, size_t step, Ints (&w)[kLanes]) {
    this->turn_packed(rows, b * sizeof(typename Type::Block), step, w);
  }
};
#endif
// The value that word j of a step begins with.
template <class Type>
constexpr size_t value_of_word(size_t step, size_t j) {
  return Steps<Type>::value(step, j / (kLanes / 2)) + j % (kLanes / 2) * 4;
}

// ---- few tokens: as in multiply_blocks.h

template <class Type, bool kOneToken>
[[gnu::noinline]] void few_super_blocks(const RowGroup& rows, size_t n_blocks, const Rows& x, size_t first, Ahead ahead,
                                        float* sums) {
  using Block = typename Type::Block;
  constexpr size_t n_subs = 256 / Type::kSubValues, n_steps = 256 / kStep, step_subs = kStep / Type::kSubValues;
  constexpr size_t runs = Type::kSubValues / 4;
  constexpr size_t most_tokens = kOneToken ? 1 : kFewTokens;
  const size_t n_tokens = kOneToken ? 1 : x.n;
  const A8_256* tokens[most_tokens];
  for (size_t t = 0; t < n_tokens; t++) tokens[t] = a8_256_row(x.data + t * x.stride) + first;
  for (size_t b = 0; b < n_blocks; b++) {
    Floats d, dmin = {};
    Ints scales[n_subs], pairs[8], s[most_tokens];
    Steps<Type> steps;
    Type::header(rows, b * sizeof(Block), d, dmin, scales, pairs);
#pragma GCC unroll 16
    for (size_t j = 0; j < n_subs; j++) scales[j] = packed_scale(scales[j]);
#pragma GCC unroll 8
    for (size_t step = 0; step < n_steps; step++) {
      ahead.fetch<kLanes * sizeof(Block) / n_steps>();
      Ints w[kLanes];
      steps.turn(rows, b, step, w);
      for (size_t t = 0; t < n_tokens; t++) {
        const int8_t* values[1] = {opaque(tokens[t] + b)->values};
        Ints sum[1][1] = {{step == 0 ? Ints{} : s[t]}};
#pragma GCC unroll 4
        for (size_t j = 0; j < step_subs; j++) {
          const size_t value = value_of_word<Type>(step, j * runs);
          const Ints scale[1] = {scales[value / Type::kSubValues]};
          constexpr size_t chain = chain_of(Type::kStored);
          add_scaled_dots<chain, runs>(TurnedWeights<chain>{w + j * runs}, values, value, scale, sum);
        }
        s[t] = sum[0][0];
      }
    }
    for (size_t t = 0; t < n_tokens; t++) {
      const A8_256& block = *opaque(tokens[t] + b);
      Ints m = {}, sum = s[t];
      Ints& paired = Type::kHasMin ? m : sum;
#pragma GCC unroll 8
      for (size_t j = 0; j < 8; j++) paired = add_pairs(paired, pairs[j], all_of(block.sums + j * 2));
      Floats acc = load_floats(sums + t * kItemRows);
      add_super_block<Type::kHasMin>(sum, m, d, dmin, block.scale, acc);
      store_floats(sums + t * kItemRows, acc);
    }
  }
}

// ---- many tokens

// Sub-blocks of 32 values are weighted as a whole: half the products that those of 16 take.
template <size_t kSubValues>
constexpr size_t kWeightedPairs = 256 / kSubValues > 8 ? 8 : 256 / kSubValues / 2;
// The activations' sums over 32 values, of those over 16.
INFERNODE_INLINE void add_neighbours(const int16_t (&sums)[16], int16_t (&out)[8]) {
  typedef int32_t Words __attribute__((vector_size(32)));
  typedef int16_t Halves __attribute__((vector_size(16)));
  Words both;
  __builtin_memcpy(&both, sums, sizeof both);
  const Halves added = __builtin_convertvector((both >> 16) + (both << 16 >> 16), Halves);
  __builtin_memcpy(out, &added, sizeof added);
}

struct SuperPanel {
  std::byte* weights;  // [super-block][64][kPanelGroups], as PanelWeights has them
  std::byte* scales;   // [super-block][sub-block][kPanelGroups][kLanes], packed
  std::byte* pairs;    // [super-block][kWeightedPairs][kPanelGroups][kLanes]
  float *d, *dmin;     // [super-block][kPanelGroups][kLanes]
};

template <class Type>
[[gnu::noinline]] void unpack_super_blocks(const RowGroup& rows, size_t g, size_t n_blocks, const SuperPanel& panel) {
  using Block = typename Type::Block;
  constexpr size_t n_subs = 256 / Type::kSubValues, n_steps = 256 / kStep;
  for (size_t b = 0; b < n_blocks; b++) {
    Floats d, dmin = {};
    Ints scales[n_subs], pairs[8];
    Type::header(rows, b * sizeof(Block), d, dmin, scales, pairs);
    store_floats(panel.d + (b * kPanelGroups + g) * kLanes, d);
    store_floats(panel.dmin + (b * kPanelGroups + g) * kLanes, dmin);
#pragma GCC unroll 16
    for (size_t j = 0; j < n_subs; j++)
      store_ints(panel.scales + ((b * n_subs + j) * kPanelGroups + g) * sizeof(Ints), packed_scale(scales[j]));
    constexpr size_t n_pairs = kWeightedPairs<Type::kSubValues>;
#pragma GCC unroll 8
    for (size_t j = 0; j < n_pairs; j++) {
      const Ints pair = n_pairs == 8 ? pairs[j] : (pairs[2 * j] & 0xffff) | (pairs[2 * j + 1] << 16);
      store_ints(panel.pairs + ((b * n_pairs + j) * kPanelGroups + g) * sizeof(Ints), pair);
    }
    Steps<Type> steps;
#pragma GCC unroll 8
    for (size_t step = 0; step < n_steps; step++) {
      Ints w[kLanes];
      steps.turn(rows, b, step, w);
#pragma GCC unroll 16
      for (size_t j = 0; j < kLanes; j++)
        PanelWeights<chain_of(Type::kStored)>::store(w[j], panel.weights, b * 64 + value_of_word<Type>(step, j) / 4, g);
    }
  }
}

// The same for all types of a form, as of blocks.
template <size_t kChain, size_t kSubValues, bool kHasMin>
struct SuperTile {
  const SuperPanel& panel;
  const Rows& x;
  size_t first_block, n_blocks;
  float* sums;
  Ahead& ahead;
  size_t fetched_lines;  // per sub-block

  template <size_t kTokens>
  [[gnu::noinline]] void run(size_t token) const {
    constexpr size_t n_subs = 256 / kSubValues, runs = kSubValues / 4, group_bytes = kPanelGroups * sizeof(Ints);
    constexpr size_t n_pairs = kWeightedPairs<kSubValues>;
    const A8_256* blocks[kTokens];
#pragma GCC unroll 16
    for (size_t t = 0; t < kTokens; t++) blocks[t] = a8_256_row(x.data + (token + t) * x.stride) + first_block;
    const size_t lines = fetches(token, x.n, kSuperTokens) ? fetched_lines : 0;
    for (size_t b = 0; b < n_blocks; b++) {
      const int8_t* values[kTokens];
#pragma GCC unroll 16
      for (size_t t = 0; t < kTokens; t++) values[t] = blocks[t][b].values;
      int16_t added[kTokens][8];
      if constexpr (n_pairs < 8) {
#pragma GCC unroll 16
        for (size_t t = 0; t < kTokens; t++) add_neighbours(blocks[t][b].sums, added[t]);
      }
      Ints s[kPanelGroups][kTokens] = {};
      for (size_t j = 0; j < n_subs; j++) {
        ahead.fetch_lines(lines);
#pragma GCC unroll 16
        for (size_t t = 0; t < kTokens; t++) __builtin_prefetch(values[t] + kTokens * x.stride + j * kSubValues, 0, 3);
        Ints scale[kPanelGroups];
#pragma GCC unroll 4
        for (size_t g = 0; g < kPanelGroups; g++)
          scale[g] = load_ints(panel.scales + (b * n_subs + j) * group_bytes + g * sizeof(Ints));
        using Weights = PanelWeights<kChain>;
        add_scaled_dots<kChain, runs>(Weights{panel.weights + (b * 64 + j * runs) * kPanelGroups * Weights::kBytes}, values,
                                      j * kSubValues, scale, s);
      }
      Ints m[kPanelGroups][kTokens] = {};
      Ints(&paired)[kPanelGroups][kTokens] = kHasMin ? m : s;
#pragma GCC unroll 8
      for (size_t j = 0; j < n_pairs; j++) {
        Ints pair[kPanelGroups];
        for (size_t g = 0; g < kPanelGroups; g++)
          pair[g] = load_ints(panel.pairs + ((b * n_pairs + j) * kPanelGroups + g) * sizeof(Ints));
#pragma GCC unroll 16
        for (size_t t = 0; t < kTokens; t++) {
          const Ints a = all_of(n_pairs < 8 ? added[t] + j * 2 : blocks[t][b].sums + j * 2);
          for (size_t g = 0; g < kPanelGroups; g++) paired[g][t] = add_pairs(paired[g][t], pair[g], a);
        }
      }
#pragma GCC unroll 4
      for (size_t g = 0; g < kPanelGroups; g++) {
        const Floats d = load_floats(panel.d + (b * kPanelGroups + g) * kLanes);
        const Floats dmin = load_floats(panel.dmin + (b * kPanelGroups + g) * kLanes);
#pragma GCC unroll 16
        for (size_t t = 0; t < kTokens; t++) {
          // The accumulators are touched once per 256 values: they stay in memory, the registers are for the integers.
          float* sum = sums + (token + t) * kItemRows + g * kLanes;
          Floats acc = load_floats(sum);
          add_super_block<kHasMin>(s[g][t], m[g][t], d, dmin, blocks[t][b].scale, acc);
          store_floats(sum, acc);
        }
      }
    }
  }
};

template <class Type>
void multiply_super_blocks(const Product& p) {
  constexpr size_t block_bytes = sizeof(typename Type::Block);
  if (p.x.n <= kFewTokens) {
    clear_sums(p);
    for (size_t first = 0; first < p.n_rows; first += kLanes) {
      float* sums = p.sums + first;
      for_pieces<block_bytes, 256>(p, first, [&](const RowGroup& rows, size_t b, size_t n) {
        const Ahead ahead = ahead_of_rows(p, first, kLanes);
        if (p.x.n > 1) return few_super_blocks<Type, false>(rows, n, p.x, b, ahead, sums);
        if constexpr (kTurnsForOne<Type>)
          few_super_blocks<Type, true>(rows, n, p.x, b, ahead, sums);
        else
          stream_super_blocks<Type>(rows, n, a8_256_row(p.x.data) + b, ahead, sums);
      });
    }
    return;
  }
  constexpr size_t chain = chain_of(Type::kStored), row_floats = kPanelValues / 256 * kPanelRows;
  SuperPanel panel;
  panel.weights = p.panel;
  panel.scales = panel.weights + row_floats * 256 * Prepared<chain>::kVectors;
  panel.pairs = panel.scales + row_floats * 16 * sizeof(int32_t);
  panel.d = reinterpret_cast<float*>(panel.pairs + row_floats * 8 * sizeof(int32_t));
  panel.dmin = panel.d + row_floats;
  for_panels<block_bytes, 256>(
      p, [&](const RowGroup& rows, size_t g, size_t n) { unpack_super_blocks<Type>(rows, g, n, panel); },
      [&](size_t first, size_t b, size_t n, Ahead& ahead) {
        const size_t lines = lines_per_block(n * block_bytes * kPanelRows, n * (256 / Type::kSubValues), p.x.n, kSuperTokens);
        for_tokens<kSuperTokens>(p.x.n, SuperTile<chain, Type::kSubValues, Type::kHasMin>{
                                            panel, p.x, b, n, p.sums + first, ahead, lines});
      });
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
