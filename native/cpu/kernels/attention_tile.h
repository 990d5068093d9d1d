// The arithmetic of attention: a few rows against one page of 64 positions, and how partial results merge.
//
// A row is a (query, head) pair; the rows of a tile share a KV head, so that keys and values are read once for all of them. What
// is computed for a row never depends on its neighbours: scores by FMA in ascending e, the page's own maximum, exp, a sum over
// all 64 positions by halves, values by FMA in ascending position. Partial results merge in ascending order: the pages of a span
// into the span, the spans into the row. Positions that a row does not see are skipped, not multiplied by zero: what lies there
// may be NaN.
#pragma once

#include "cpu/kernels/math.h"
#include "cpu/kernels/rows.h"
#include "simd.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

// Accumulators that fit the registers, beside kTileVectors of keys or values and a broadcast: 32 of AVX-512, else 16.
constexpr size_t kTileRows = F32::lanes > 1 ? 6 : 4;
constexpr size_t kTileVectors = F32::lanes > 8 ? 4 : 2;

// Softmax over some positions before the division: out = Σ exp(score - max) · value, sum = Σ exp(score - max).
struct Softmax {
  float max, sum;
  bool empty;
};

struct Factors {
  float old, added;  // what the two results are multiplied with
};

INFERNODE_INLINE float exp(float x) { return first_lane(exp(F32::all(x))); }

// Adds a part that is not empty to a total. The caller combines the outputs: total · old + part · added, or part alone if the
// total was empty.
INFERNODE_INLINE Factors merge_softmax(Softmax& total, float max, float sum) {
  if (total.empty) {
    total = {max, sum, false};
    return {0, 1};
  }
  const float both = max > total.max ? max : total.max;
  const Factors factors = {exp(total.max - both), exp(max - both)};
  total.max = both;
  total.sum = total.sum * factors.old + sum * factors.added;
  return factors;
}

INFERNODE_INLINE F32 merge_out(F32 total, F32 part, Factors factors) {
  return fma(total, F32::all(factors.old), part * F32::all(factors.added));
}

// Merges a part of n values kept in memory.
void merge_part(Softmax& total, float* out, const Softmax& part, const float* part_out, size_t n) {
  const bool first = total.empty;
  const Factors factors = merge_softmax(total, part.max, part.sum);
  for (size_t e = 0; e < n; e += F32::lanes) {
    const F32 added = load(part_out + e, n - e);
    store(out + e, first ? added : merge_out(load(out + e, n - e), added, factors), n - e);
  }
}

// Positions [begin, end) of a page that a row sees; none if begin == end.
struct Visible {
  size_t begin, end;
};

// What R rows see together.
struct VisibleToTile {
  size_t begin, end;                // seen by some row
  size_t common_begin, common_end;  // seen by every row that sees anything; within [begin, end]
};

template <size_t R>
INFERNODE_INLINE VisibleToTile together(const Visible* rows) {
  VisibleToTile tile = {kPagePositions, 0, 0, kPagePositions};
  for (size_t r = 0; r < R; r++) {
    if (rows[r].begin == rows[r].end) continue;
    tile.begin = smaller(tile.begin, rows[r].begin);
    tile.end = larger(tile.end, rows[r].end);
    tile.common_begin = larger(tile.common_begin, rows[r].begin);
    tile.common_end = smaller(tile.common_end, rows[r].end);
  }
  if (tile.common_begin > tile.common_end) tile.common_begin = tile.common_end = tile.end;
  return tile;
}

// scores[R, 64] = q · keys, for (at least) the positions that the tile sees. keys: [E, 64]; q: [E, R], scaled.
template <size_t R, class Element>
INFERNODE_INLINE void page_scores(const Element* keys, const float* q, size_t head_dim, VisibleToTile seen,
                                  float (*scores)[kPagePositions]) {
  constexpr size_t lanes = F32::lanes, step = kTileVectors * lanes;
  for (size_t j = seen.begin / step * step; j < seen.end; j += step) {
    F32 sum[R][kTileVectors];
#pragma GCC unroll 8
    for (size_t r = 0; r < R; r++)
#pragma GCC unroll 8
      for (size_t v = 0; v < kTileVectors; v++) sum[r][v] = F32::zero();
#pragma GCC unroll 1
    for (size_t e = 0; e < head_dim; e++) {
      F32 key[kTileVectors];
#pragma GCC unroll 8
      for (size_t v = 0; v < kTileVectors; v++) key[v] = load(keys + e * kPagePositions + j + v * lanes);
#pragma GCC unroll 8
      for (size_t r = 0; r < R; r++) {
        const F32 broadcast = F32::all(q[e * R + r]);
#pragma GCC unroll 8
        for (size_t v = 0; v < kTileVectors; v++) sum[r][v] = fma(broadcast, key[v], sum[r][v]);
      }
    }
#pragma GCC unroll 8
    for (size_t r = 0; r < R; r++)
#pragma GCC unroll 8
      for (size_t v = 0; v < kTileVectors; v++) store(scores[r] + j + v * lanes, sum[r][v]);
  }
}

// Turns the visible scores of a row into exp(score - max), in place, and merges maximum and sum into the row's.
INFERNODE_INLINE Factors page_softmax(float* scores, Visible visible, Softmax& row) {
  constexpr size_t lanes = F32::lanes;
  const F32 minus_infinity = F32::all(-__builtin_inff());
  // Whole vectors outside [begin, end) were not even computed.
  const size_t first = visible.begin / lanes * lanes;
  F32 largest = minus_infinity;
  for (size_t j = first; j < visible.end; j += lanes) {
    const Mask seen = first_lanes(visible.end - j) & !first_lanes(visible.begin > j ? visible.begin - j : 0);
    const F32 score = select(seen, load(scores + j), minus_infinity);
    store(scores + j, score);
    largest = max(largest, score);  // a NaN may get lost here: exp brings it back
  }
  const float maximal = maximum(largest);
  F32 partial[kSumVectors];
#pragma GCC unroll 8
  for (size_t v = 0; v < kSumVectors; v++) {
    const size_t j = v * lanes;
    partial[v] = F32::zero();
    if (j < first || j >= visible.end) continue;
    const Mask seen = first_lanes(visible.end - j) & !first_lanes(visible.begin > j ? visible.begin - j : 0);
    partial[v] = select(seen, exp(load(scores + j) - F32::all(maximal)), F32::zero());
    store(scores + j, partial[v]);
  }
  return merge_softmax(row, maximal, fold_sum(partial));
}

// out[R, …] of columns [e, e + n) gets Σ weights[r][j] · values[j], over the positions j that each row sees. values: [64, E].
template <size_t R, size_t vectors, class Element>
INFERNODE_INLINE void page_values(const Element* values, size_t head_dim, size_t e, size_t n, const float (*weights)[kPagePositions],
                                  const Visible* visible, VisibleToTile seen, const bool* first, const Factors* factors, float* out,
                                  size_t out_stride) {
  constexpr size_t lanes = F32::lanes;
  const bool whole = n == vectors * lanes;
  F32 sum[R][vectors];
#pragma GCC unroll 8
  for (size_t r = 0; r < R; r++)
#pragma GCC unroll 8
    for (size_t v = 0; v < vectors; v++) sum[r][v] = F32::zero();
  const auto add_position = [&](size_t j, auto&& row_sees) __attribute__((always_inline)) {
    F32 value[vectors];
#pragma GCC unroll 8
    for (size_t v = 0; v < vectors; v++) {
      const Element* p = values + j * head_dim + e + v * lanes;
      value[v] = vectors > 1 || whole ? load(p) : load(p, n);
    }
#pragma GCC unroll 8
    for (size_t r = 0; r < R; r++) {
      if (!row_sees(r)) continue;
      const F32 weight = F32::all(weights[r][j]);
#pragma GCC unroll 8
      for (size_t v = 0; v < vectors; v++) sum[r][v] = fma(weight, value[v], sum[r][v]);
    }
  };
  const auto add_edge = [&](size_t begin, size_t end) __attribute__((always_inline)) {
#pragma GCC unroll 1
    for (size_t j = begin; j < end; j++) add_position(j, [&](size_t r) { return j >= visible[r].begin && j < visible[r].end; });
  };
  add_edge(seen.begin, seen.common_begin);
#pragma GCC unroll 1
  for (size_t j = seen.common_begin; j < seen.common_end; j++) add_position(j, [](size_t) { return true; });
  add_edge(seen.common_end, seen.end);
#pragma GCC unroll 8
  for (size_t r = 0; r < R; r++) {
    if (visible[r].begin == visible[r].end) continue;
#pragma GCC unroll 8
    for (size_t v = 0; v < vectors; v++) {
      float* p = out + r * out_stride + e + v * lanes;  // rows of out are padded to whole vectors
      store(p, first[r] ? sum[r][v] : merge_out(load(p), sum[r][v], factors[r]));
    }
  }
}

// Adds one page to R rows. keys: [E, 64], values: [64, E]; q: [E, R], scaled; out: R rows of out_stride floats, a multiple of the
// lanes and at least E.
template <size_t R, class Element>
void attend_page(const Element* keys, const Element* values, size_t head_dim, const float* q, const Visible* visible, Softmax* rows,
                 float* out, size_t out_stride) {
  constexpr size_t lanes = F32::lanes, step = kTileVectors * lanes;
  alignas(64) float weights[R][kPagePositions];
  const VisibleToTile seen = together<R>(visible);
  page_scores<R>(keys, q, head_dim, seen, weights);
  bool first[R];
  Factors factors[R] = {};
  for (size_t r = 0; r < R; r++) {
    first[r] = rows[r].empty;
    if (visible[r].begin < visible[r].end) factors[r] = page_softmax(weights[r], visible[r], rows[r]);
  }
  size_t e = 0;
  for (; e + step <= head_dim; e += step)
    page_values<R, kTileVectors>(values, head_dim, e, step, weights, visible, seen, first, factors, out, out_stride);
  for (; e < head_dim; e += lanes)
    page_values<R, 1>(values, head_dim, e, smaller(lanes, head_dim - e), weights, visible, seen, first, factors, out, out_stride);
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
