// The arithmetic of attention: a few rows against one page of 64 positions.
//
// A row is a (query, head) pair; the rows of a tile share a KV head, so that keys and values are read once for all of them.
// What is computed for a row never depends on its neighbours: scores by FMA in ascending e, weights as attention_softmax.h
// says, values by FMA in ascending position, on top of what earlier pages gave. Against q8_0 keys a query is quantized as they
// are: for each block of 32, an exact integer sum, then an FMA with the product of the scales; values get their scale through
// the weights. Positions that a row does not see are skipped, not multiplied by zero: what lies there may be NaN.
//
// The floor: 2 · 64 · E multiply-adds per row and page. A tile of R rows and V vectors does R · V of them per V loads of keys
// or values and R broadcasts, so two multiplying ports are kept busy by two loading ports from R = V = 2 on; sums of R · V >= 8
// registers hide the latency of four cycles. Weights cost 12 operations per 16 scores beside the 2 · E multiply-adds; byte
// products quarter the half of them that keys take.
#pragma once

#include "byte_dots.h"
#include "cpu/kernels/attention_softmax.h"
#include "cpu/kv_layout.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

// Sums fit the registers, beside the keys or values and a broadcast: 24 of AVX-512's 32, 12 of 16.
constexpr size_t kTileRows = F32::lanes > 8 ? 12 : F32::lanes > 1 ? 6 : 4;
template <size_t R>
constexpr size_t kTileVectors = F32::lanes > 8 && R <= 6 ? 4 : 2;

// One KV head's keys [E, 64] and values [64, E] of a page, read as f32. Element: float, F16, Bf16, or int8_t for q8_0.
template <class Element>
struct Page {
  const Element *keys, *values;
  size_t head_dim;

  Page(const std::byte* k_part, const std::byte* v_part, size_t head_dim)
      : keys(reinterpret_cast<const Element*>(k_part)), values(reinterpret_cast<const Element*>(v_part)), head_dim(head_dim) {}
  INFERNODE_INLINE const Element* values_at(size_t j, size_t e) const { return values + j * head_dim + e; }
};

template <>
struct Page<int8_t> {
  const int8_t *keys, *values;
  const F16 *key_scales, *value_scales;
  size_t head_dim;

  Page(const std::byte* k_part, const std::byte* v_part, size_t head_dim)
      : keys(reinterpret_cast<const int8_t*>(k_part)),
        values(reinterpret_cast<const int8_t*>(v_part)),
        key_scales(reinterpret_cast<const F16*>(k_part + kv_value_bytes(TensorType::kQ8_0, head_dim))),
        value_scales(reinterpret_cast<const F16*>(v_part + kv_value_bytes(TensorType::kQ8_0, head_dim))),
        head_dim(head_dim) {}
  INFERNODE_INLINE const int8_t* values_at(size_t j, size_t e) const { return values + j * head_dim + e; }
};

template <class Page>
constexpr bool kIsBytes = false;
template <>
constexpr bool kIsBytes<Page<int8_t>> = true;

// What R rows see together.
struct VisibleToTile {
  size_t begin, end;                // seen by some row
  size_t common_begin, common_end;  // seen by every row that sees anything; within [begin, end]
};

template <size_t R>
INFERNODE_INLINE VisibleToTile together(const Visible* rows) {
  if (!rows) return {0, kPagePositions, 0, kPagePositions};
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
struct PageAhead {
  const std::byte *next, *end;
  template <size_t lines>
  INFERNODE_INLINE void fetch() {
    if (next >= end) return;
#pragma GCC unroll 8
    for (size_t line = 0; line < lines; line++) prefetch(next + line * 64);
    next += lines * 64;
  }
};
// Lines per step of the inner loops that make up a page by its end. Keys of bytes have a quarter of the steps.
template <class Element, size_t vectors>
constexpr size_t kLinesAhead = larger(1, (sizeof(Element) == 1 ? 2 : sizeof(Element)) * vectors * F32::lanes / 64);

// ---- scores [R, 64] = q · keys, for (at least) the positions that the tile sees

// A tile's queries as page_scores reads them, scaled. For floats: a piece of each row after the other, so that all lie at fixed
// distances. For bytes: four together [pieces of 32 bytes, 8, R], then for
// each of these the queries' scales [pieces, R] and what the keys' offset adds to their sums, negative [pieces, R].
constexpr size_t kQueryPiece = 64;

template <class Page>
struct Queries {
  const float* values;
  Queries(const float* data, size_t, size_t) : values(data) {}
};
template <>
struct Queries<Page<int8_t>> {
  const int32_t* quads;
  const float* scales;
  const int32_t* offsets;
  Queries(const float* data, size_t head_dim, size_t rows)
      : quads(reinterpret_cast<const int32_t*>(data)),
        scales(data + kv_scale_blocks(TensorType::kQ8_0, head_dim) * 8 * rows),
        offsets(reinterpret_cast<const int32_t*>(scales + kv_scale_blocks(TensorType::kQ8_0, head_dim) * rows)) {}
};
// Words per row.
constexpr size_t query_words(TensorType type, size_t head_dim) {
  if (type == TensorType::kQ8_0) return kv_scale_blocks(type, head_dim) * 10;
  return (head_dim + kQueryPiece - 1) / kQueryPiece * kQueryPiece;
}

template <size_t R, class Element>
INFERNODE_INLINE void page_scores(const Page<Element>& page, const Queries<Page<Element>>& q, VisibleToTile seen,
                                  float (*scores)[kPagePositions], PageAhead& ahead) {
  constexpr size_t lanes = F32::lanes, vectors = kTileVectors<R>, step = vectors * lanes;
  for (size_t j = seen.begin / step * step; j < seen.end; j += step) {
    F32 sum[R][vectors];
#pragma GCC unroll 16
    for (size_t r = 0; r < R; r++)
#pragma GCC unroll 8
      for (size_t v = 0; v < vectors; v++) sum[r][v] = F32::zero();
    for (size_t first = 0; first < page.head_dim; first += kQueryPiece) {
      const Element* keys = page.keys + first * kPagePositions + j;
      const float *piece = q.values + first * R, *end = piece + smaller(kQueryPiece, page.head_dim - first);
#pragma GCC unroll 1
      for (; piece < end; piece++, keys += kPagePositions) {
        ahead.fetch<kLinesAhead<Element, vectors>>();
        F32 key[vectors];
#pragma GCC unroll 8
        for (size_t v = 0; v < vectors; v++) key[v] = load(keys + v * lanes);
#pragma GCC unroll 16
        for (size_t r = 0; r < R; r++) {
          const F32 broadcast = F32::all(piece[r * kQueryPiece]);
#pragma GCC unroll 8
          for (size_t v = 0; v < vectors; v++) sum[r][v] = fma(broadcast, key[v], sum[r][v]);
        }
      }
    }
#pragma GCC unroll 16
    for (size_t r = 0; r < R; r++)
#pragma GCC unroll 8
      for (size_t v = 0; v < vectors; v++) store(scores[r] + j + v * lanes, sum[r][v]);
  }
}

template <size_t R>
INFERNODE_INLINE void page_scores(const Page<int8_t>& page, const Queries<Page<int8_t>>& q, VisibleToTile seen,
                                  float (*scores)[kPagePositions], PageAhead& ahead) {
  constexpr size_t lanes = F32::lanes, vectors = kTileVectors<R>, step = vectors * lanes;
  const size_t quads = (page.head_dim + 3) / 4;
  for (size_t j = seen.begin / step * step; j < seen.end; j += step) {
    for (size_t block = 0; block * 8 < quads; block++) {
      Dots sum[R][vectors];
#pragma GCC unroll 16
      for (size_t r = 0; r < R; r++)
#pragma GCC unroll 8
        for (size_t v = 0; v < vectors; v++) sum[r][v] = kKeyOffset == 0 ? Dots::zero() : Dots::all(q.offsets[block * R + r]);
      const size_t end = smaller(block * 8 + 8, quads);
#pragma GCC unroll 1
      for (size_t quad = block * 8; quad < end; quad++) {
        ahead.fetch<kLinesAhead<int8_t, vectors>>();
        Quads key[vectors];
#pragma GCC unroll 8
        for (size_t v = 0; v < vectors; v++) key[v] = load_quads(page.keys + (quad * kPagePositions + j + v * lanes) * 4);
#pragma GCC unroll 16
        for (size_t r = 0; r < R; r++)
#pragma GCC unroll 8
          for (size_t v = 0; v < vectors; v++) sum[r][v] = add_dots(sum[r][v], key[v], q.quads[quad * R + r]);
      }
      F32 scale[vectors];
#pragma GCC unroll 8
      for (size_t v = 0; v < vectors; v++) scale[v] = load(page.key_scales + block * kPagePositions + j + v * lanes);
#pragma GCC unroll 16
      for (size_t r = 0; r < R; r++) {
        const F32 of_query = F32::all(q.scales[block * R + r]);
#pragma GCC unroll 8
        for (size_t v = 0; v < vectors; v++) {
          float* score = scores[r] + j + v * lanes;
          store(score, fma(to_f32(sum[r][v]), scale[v] * of_query, block == 0 ? F32::zero() : load(score)));
        }
      }
    }
  }
}

// Scores of seen positions become cap · tanh(score / cap). Whole vectors: what is not seen may be anything, before and after.
void cap_scores(float* scores, size_t begin, size_t end, float cap) {
  for (size_t j = begin / F32::lanes * F32::lanes; j < end; j += F32::lanes)
    store(scores + j, softcap(load(scores + j), F32::all(cap)));
}

// ---- values

// weights · the scales of a block of values. Positions that the tile does not see: anything.
template <size_t R>
INFERNODE_INLINE void scale_weights(const F16* scales, const float (*weights)[kPagePositions],
                                    float (*scaled)[kPagePositions]) {
#pragma GCC unroll 1
  for (size_t j = 0; j < kPagePositions; j += F32::lanes) {
    const F32 scale = load(scales + j);
#pragma GCC unroll 16
    for (size_t r = 0; r < R; r++) store(scaled[r] + j, load(weights[r] + j) * scale);
  }
}

// out[R, …] of columns [e, e + vectors * lanes) becomes out · old + Σ weights[r][j] · values[j], over the positions j that each
// row sees. weights: one [R, 64] for all columns, or for each 32 of them.
template <size_t R, size_t vectors, class Element>
INFERNODE_INLINE void page_values(const Page<Element>& page, size_t e, const float (*weights)[kPagePositions],
                                  const Visible* visible, VisibleToTile seen, const float* old, float* out, size_t out_stride,
                                  PageAhead& ahead) {
  constexpr size_t lanes = F32::lanes;
  constexpr bool scaled = kIsBytes<Page<Element>>;
  const size_t rest = page.head_dim - e;
  F32 sum[R][vectors];
#pragma GCC unroll 16
  for (size_t r = 0; r < R; r++)
#pragma GCC unroll 8
    for (size_t v = 0; v < vectors; v++) sum[r][v] = load(out + r * out_stride + e + v * lanes) * F32::all(old[r]);
  const auto add_position = [&](size_t j, auto&& row_sees) __attribute__((always_inline)) {
    F32 value[vectors];
    const Element* from = page.values_at(j, e);
#pragma GCC unroll 8
    for (size_t v = 0; v < vectors; v++) value[v] = vectors > 1 || rest >= lanes ? load(from + v * lanes) : load(from, rest);
#pragma GCC unroll 16
    for (size_t r = 0; r < R; r++) {
      if (!row_sees(r)) continue;
#pragma GCC unroll 8
      for (size_t v = 0; v < vectors; v++)
        sum[r][v] = fma(F32::all(weights[(scaled ? v * lanes / 32 * R : 0) + r][j]), value[v], sum[r][v]);
    }
  };
  const auto add_edge = [&](size_t begin, size_t end) __attribute__((always_inline)) {
#pragma GCC unroll 1
    for (size_t j = begin; j < end; j++) add_position(j, [&](size_t r) { return j >= visible[r].begin && j < visible[r].end; });
  };
  add_edge(seen.begin, seen.common_begin);
#pragma GCC unroll 1
  for (size_t j = seen.common_begin; j < seen.common_end; j++) {
    ahead.fetch<kLinesAhead<Element, vectors>>();
    add_position(j, [](size_t) { return true; });
  }
  add_edge(seen.common_end, seen.end);
#pragma GCC unroll 16
  for (size_t r = 0; r < R; r++)
#pragma GCC unroll 8
    for (size_t v = 0; v < vectors; v++) store(out + r * out_stride + e + v * lanes, sum[r][v]);
}

// Adds one page to R rows. visible: nullptr if all rows see all of it. softcap, in units of log2 e; 0: none. out: R rows of
// out_stride floats, a multiple of the lanes and at least E.
template <size_t R, class Element>
void attend_page(const Page<Element>& page, const float* q, const Visible* visible, Softmax& rows, float* out,
                 size_t out_stride, PageAhead& ahead, float softcap) {
  constexpr size_t lanes = F32::lanes, vectors = kTileVectors<R>, step = vectors * lanes;
  constexpr bool scaled = kIsBytes<Page<Element>>;
  alignas(64) float weights[R][kPagePositions], old[kRowSlots];
  const VisibleToTile seen = together<R>(visible);
  page_scores<R>(page, Queries<Page<Element>>(q, page.head_dim, R), seen, weights, ahead);
  if (softcap > 0)
    for (size_t r = 0; r < R; r++) cap_scores(weights[r], seen.begin, seen.end, softcap);
  if (visible)
    weigh_page<R, true>(weights, visible, rows, old);
  else
    weigh_page<R, false>(weights, nullptr, rows, old);
  constexpr size_t blocks = step > 32 ? step / 32 : 1;  // of a step, each with weights of its own
  alignas(64) float of_blocks[scaled ? blocks * R : 1][kPagePositions];
  const auto weights_at = [&](size_t e, size_t n) __attribute__((always_inline)) -> const float(*)[kPagePositions] {
    if constexpr (scaled) {
      if (e % 32 == 0)
        for (size_t b = 0; b < n; b++)
          scale_weights<R>(page.value_scales + (e / 32 + b) * kPagePositions, weights, of_blocks + b * R);
      return of_blocks;
    }
    return weights;
  };
  size_t e = 0;
  for (; e + step <= page.head_dim; e += step)
    page_values<R, vectors>(page, e, weights_at(e, blocks), visible, seen, old, out, out_stride, ahead);
  for (; e < page.head_dim; e += lanes)
    page_values<R, 1>(page, e, weights_at(e, 1), visible, seen, old, out, out_stride, ahead);
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
