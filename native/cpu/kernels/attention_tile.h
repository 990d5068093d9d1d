// The arithmetic of attention: a few rows against one page of 64 positions, and how partial results merge.
//
// A row is a (query, head) pair; the rows of a tile share a KV head, so that keys and values are read once for all of them.
// What is computed for a row never depends on its neighbours: scores by FMA in ascending e, the page's own maximum, exp, a sum
// over all 64 positions by halves, values by FMA in ascending position. Partial results merge in ascending order: the pages of
// a span into the span, the spans into the row. Positions that a row does not see are skipped, not multiplied by zero: what
// lies there may be NaN.
#pragma once

#include "cpu/kernels/activation_functions.h"
#include "cpu/kernels/rows.h"
#include "cpu/kv_layout.h"
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

// One KV head's keys [E, 64] and values [64, E] of a page, read as f32. Element: float, F16, Bf16, or int8_t for q8_0.
template <class Element>
struct Page {
  const Element *keys, *values;
  size_t head_dim;

  Page(const std::byte* k_part, const std::byte* v_part, size_t head_dim)
      : keys(reinterpret_cast<const Element*>(k_part)), values(reinterpret_cast<const Element*>(v_part)), head_dim(head_dim) {}

  struct Scale {};  // none
  size_t scaled_together() const { return head_dim; }
  INFERNODE_INLINE Scale key_scale(size_t, size_t) const { return {}; }
  INFERNODE_INLINE F32 key(size_t e, size_t j, Scale) const { return load(keys + e * kPagePositions + j); }
  // Columns [e, e + vectors * lanes) of position j; e is a multiple of that. The last vector of a row may be cut short to n.
  template <size_t vectors>
  INFERNODE_INLINE void value(size_t j, size_t e, F32 (&out)[vectors]) const {
#pragma GCC unroll 8
    for (size_t v = 0; v < vectors; v++) out[v] = load(values + j * head_dim + e + v * F32::lanes);
  }
  INFERNODE_INLINE F32 value_end(size_t j, size_t e, size_t n) const { return load(values + j * head_dim + e, n); }
};

template <>
struct Page<int8_t> {
  const int8_t *keys, *values;
  const F16 *key_scales, *value_scales;
  size_t head_dim, blocks;

  Page(const std::byte* k_part, const std::byte* v_part, size_t head_dim)
      : keys(reinterpret_cast<const int8_t*>(k_part)),
        values(reinterpret_cast<const int8_t*>(v_part)),
        key_scales(reinterpret_cast<const F16*>(k_part + kv_value_bytes(TensorType::kQ8_0, head_dim))),
        value_scales(reinterpret_cast<const F16*>(v_part + kv_value_bytes(TensorType::kQ8_0, head_dim))),
        head_dim(head_dim),
        blocks(kv_scale_blocks(TensorType::kQ8_0, head_dim)) {}

  using Scale = F32;
  size_t scaled_together() const { return 32; }
  INFERNODE_INLINE F32 key_scale(size_t e, size_t j) const { return load(key_scales + e / 32 * kPagePositions + j); }
  INFERNODE_INLINE F32 key(size_t e, size_t j, F32 scale) const { return load(keys + e * kPagePositions + j) * scale; }
  INFERNODE_INLINE F32 value_scale(size_t j, size_t e) const { return broadcast(value_scales + j * blocks + e / 32); }
  template <size_t vectors>
  INFERNODE_INLINE void value(size_t j, size_t e, F32 (&out)[vectors]) const {
    F32 scale;
#pragma GCC unroll 8
    for (size_t v = 0; v < vectors; v++) {
      if (v * F32::lanes % 32 == 0) scale = value_scale(j, e + v * F32::lanes);
      out[v] = load(values + j * head_dim + e + v * F32::lanes) * scale;
    }
  }
  INFERNODE_INLINE F32 value_end(size_t j, size_t e, size_t n) const {
    return load(values + j * head_dim + e, n) * value_scale(j, e);
  }
};

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

// What will be read next, to be fetched while something else is computed: a few lines at a time, because a page at once fills
// the queues of the memory system and stalls.
struct Ahead {
  const std::byte *next, *end;
  INFERNODE_INLINE void fetch() {
    if (next >= end) return;
    for (size_t line = 0; line < 4; line++) prefetch(next + line * 64);
    next += 256;
  }
};

// scores[R, 64] = q · keys, for (at least) the positions that the tile sees. q: [E, R], scaled.
template <size_t R, class Page>
INFERNODE_INLINE void page_scores(const Page& page, const float* q, VisibleToTile seen, float (*scores)[kPagePositions],
                                  Ahead& ahead) {
  constexpr size_t lanes = F32::lanes, step = kTileVectors * lanes;
  for (size_t j = seen.begin / step * step; j < seen.end; j += step) {
    F32 sum[R][kTileVectors];
#pragma GCC unroll 8
    for (size_t r = 0; r < R; r++)
#pragma GCC unroll 8
      for (size_t v = 0; v < kTileVectors; v++) sum[r][v] = F32::zero();
    for (size_t begin = 0; begin < page.head_dim; begin += page.scaled_together()) {
      const size_t end = smaller(begin + page.scaled_together(), page.head_dim);
      typename Page::Scale scale[kTileVectors];
#pragma GCC unroll 8
      for (size_t v = 0; v < kTileVectors; v++) scale[v] = page.key_scale(begin, j + v * lanes);
#pragma GCC unroll 1
      for (size_t e = begin; e < end; e++) {
        ahead.fetch();
        F32 key[kTileVectors];
#pragma GCC unroll 8
        for (size_t v = 0; v < kTileVectors; v++) key[v] = page.key(e, j + v * lanes, scale[v]);
#pragma GCC unroll 8
        for (size_t r = 0; r < R; r++) {
          const F32 broadcast = F32::all(q[e * R + r]);
#pragma GCC unroll 8
          for (size_t v = 0; v < kTileVectors; v++) sum[r][v] = fma(broadcast, key[v], sum[r][v]);
        }
      }
    }
#pragma GCC unroll 8
    for (size_t r = 0; r < R; r++)
#pragma GCC unroll 8
      for (size_t v = 0; v < kTileVectors; v++) store(scores[r] + j + v * lanes, sum[r][v]);
  }
}

// Scores of seen positions become cap · tanh(score / cap). Whole vectors: what is not seen may be anything, before and after.
INFERNODE_INLINE void cap_scores(float* scores, Visible visible, float cap) {
  for (size_t j = visible.begin / F32::lanes * F32::lanes; j < visible.end; j += F32::lanes)
    store(scores + j, softcap(load(scores + j), F32::all(cap)));
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

// out[R, …] of columns [e, e + vectors * lanes) gets Σ weights[r][j] · values[j], over the positions j that each row sees.
template <size_t R, size_t vectors, class Page>
INFERNODE_INLINE void page_values(const Page& page, size_t e, const float (*weights)[kPagePositions], const Visible* visible,
                                  VisibleToTile seen, const bool* first, const Factors* factors, float* out,
                                  size_t out_stride) {
  constexpr size_t lanes = F32::lanes;
  const size_t rest = page.head_dim - e;
  F32 sum[R][vectors];
#pragma GCC unroll 8
  for (size_t r = 0; r < R; r++)
#pragma GCC unroll 8
    for (size_t v = 0; v < vectors; v++) sum[r][v] = F32::zero();
  const auto add_position = [&](size_t j, auto&& row_sees) __attribute__((always_inline)) {
    F32 value[vectors];
    if (vectors > 1 || rest >= lanes)
      page.value(j, e, value);
    else
      value[0] = page.value_end(j, e, rest);
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

// Adds one page to R rows. softcap 0: none. q: [E, R], scaled; out: R rows of out_stride floats, a multiple of the lanes and at least E.
template <size_t R, class Page>
void attend_page(const Page& page, const float* q, const Visible* visible, Softmax* rows, float* out, size_t out_stride,
                 Ahead& ahead, float softcap) {
  constexpr size_t lanes = F32::lanes, step = kTileVectors * lanes;
  alignas(64) float weights[R][kPagePositions];
  const VisibleToTile seen = together<R>(visible);
  page_scores<R>(page, q, seen, weights, ahead);
  bool first[R];
  Factors factors[R] = {};
  for (size_t r = 0; r < R; r++) {
    first[r] = rows[r].empty;
    if (softcap > 0) cap_scores(weights[r], visible[r], softcap);
    if (visible[r].begin < visible[r].end) factors[r] = page_softmax(weights[r], visible[r], rows[r]);
  }
  size_t e = 0;
  for (; e + step <= page.head_dim; e += step)
    page_values<R, kTileVectors>(page, e, weights, visible, seen, first, factors, out, out_stride);
  for (; e < page.head_dim; e += lanes) page_values<R, 1>(page, e, weights, visible, seen, first, factors, out, out_stride);
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
