// Products of many rows with many rows, on the vector variants. Both sides become words (words.h). Of a, all is laid out once, in
// tiles of as many rows as a register tile has, so that it streams from the caches in one run; of b, an item of 32 rows at a time
// becomes panels. Each output is one accumulator over increasing k, as in `linear`.
#pragma once

#include "cpu/kernels/words.h"
#ifdef INFERNODE_BF16_PAIRS  // as in multiply_vectors.h
#include INFERNODE_BF16_PAIRS
#include "cpu/kernels/multiply_bf16_pairs.h"
#endif

namespace infernode::cpu::INFERNODE_ISA {
namespace {

constexpr size_t kTileRows = kFloatTokens;  // of a
constexpr size_t kStepWords = 16;           // between requests to memory: the words of a tile's row in a cache line
constexpr size_t kFetchedAhead = 4096;      // bytes of a, where measuring found that they arrive in time
static_assert(kTileRows <= kLanes && kBlockWords % kStepWords == 0 && kBlockWords % kLanes == 0);

// How a product is cut: blocks of K, and for each all tiles of a.
struct Layout {
  size_t n_words, block, n_blocks, n_tiles, tile_bytes;

  Layout(const MatrixProduct& p, size_t values_of_word) {
    n_words = (p.k + values_of_word - 1) / values_of_word;
    n_blocks = n_words == 0 ? 1 : (n_words + kBlockWords - 1) / kBlockWords;
    block = ((n_words + n_blocks - 1) / n_blocks + kStepWords - 1) / kStepWords * kStepWords;  // nearly equal ones
    n_tiles = (p.m + kTileRows - 1) / kTileRows;
    tile_bytes = ((block * kTileRows + kLanes) * sizeof(int32_t) + 63) / 64 * 64;
  }
  size_t words_of(size_t b) const { return n_words - b * block < block ? n_words - b * block : block; }
  size_t tile(size_t b, size_t t) const { return (b * n_tiles + t) * tile_bytes; }
  // Behind the tiles, where a product needs them: the sums of a's rows, kLanes for each tile.
  size_t row_sums() const { return tile(n_blocks, 0); }
};

inline bool bytes(const MatrixProduct& p) { return p.a_type != TensorType::kF32; }
// Bytes in words of four: the ones of b are unsigned where the instruction wants that, those of a signed. What is stored is the
// value and this.
constexpr bool kSignedWords = kByteOffset == 0;
inline int32_t offset_of(TensorType type, bool is_signed) {
  if (Int8Words::kValues != 4 || (type == TensorType::kI8) == is_signed) return 0;
  return type == TensorType::kI8 ? 128 : -128;
}
inline int flip_of(int32_t offset) { return offset ? static_cast<int>(0x80808080) : 0; }
inline WordRows a_rows(const MatrixProduct& p) {
  return {p.a, p.a_stride, p.m, p.k, p.a_type, flip_of(bytes(p) ? offset_of(p.a_type, true) : 0)};
}
inline WordRows b_rows(const MatrixProduct& p) {
  return {p.b, p.b_stride, p.n, p.k, p.b_type, flip_of(bytes(p) ? offset_of(p.b_type, kSignedWords) : 0)};
}
inline Ints ones() { return all_ints(Int8Words::kValues == 4 ? 0x01010101 : 0x00010001); }

// What follows in memory of b, asked for while tiles are computed: at each step, lines at `step` bytes from those before.
struct Fetched {
  const std::byte* at;
  size_t step, between;  // bytes
  size_t n;              // lines at each step, `between` apart
};

// How sums of stored bytes become outputs: Σ (a − za)(b − zb) = Σ a·b − za Σ b − zb Σ a + k·za·zb, all modulo 2^32; zero points with
// the offsets of stored bytes.
struct ByteFinish {
  typedef uint32_t Unsigned __attribute__((vector_size(sizeof(Ints))));
  INFERNODE_INLINE static Unsigned wrapping(Ints x) { return __builtin_bit_cast(Unsigned, x); }
  Unsigned zero_b[kPanelGroups], for_all[kPanelGroups];
  Floats scale[kPanelGroups];
  bool scaled;
  const std::byte* sums_of_a;  // of the tile's rows

  ByteFinish() = default;
  // Rows of b from `row` on; the last one stands for absent ones.
  ByteFinish(const MatrixProduct& p, size_t row, const Ints (&sums_of_b)[kPanelGroups]) : scaled(p.scale_b.data) {
    const uint32_t zero_a = static_cast<uint32_t>(p.zero_a + offset_of(p.a_type, true));
    for (size_t g = 0; g < kPanelGroups; g++) {
      uint32_t zeros[kLanes];
      float scales[kLanes] = {};
      for (size_t i = 0; i < kLanes; i++) {
        const size_t j = row + g * kLanes + i, at = j < p.n ? j : p.n - 1;
        const int32_t zero = p.zero_b.data ? p.zero_b.data[p.zero_b.one ? 0 : at] : 0;
        zeros[i] = static_cast<uint32_t>(zero) + static_cast<uint32_t>(offset_of(p.b_type, kSignedWords));
        if (scaled) scales[i] = p.scale_a * p.scale_b.data[p.scale_b.one ? 0 : at];
      }
      __builtin_memcpy(&zero_b[g], zeros, sizeof zeros);
      scale[g] = load_floats(scales);
      for_all[g] = (zero_b[g] * static_cast<uint32_t>(p.k) - wrapping(sums_of_b[g])) * zero_a;
    }
  }
  INFERNODE_INLINE Ints operator()(Ints sums, size_t t, size_t g) const {
    const Unsigned sum = wrapping(sums) + for_all[g] - zero_b[g] * wrapping(all_of(sums_of_a + t * 4));
    const Ints exact = __builtin_bit_cast(Ints, sum);
    return scaled ? as_ints(to_floats(exact) * scale[g]) : exact;
  }
};
// Sums of floats are the outputs.
struct FloatFinish {
  const std::byte* sums_of_a;

  FloatFinish() = default;
  FloatFinish(const MatrixProduct&, size_t, const Ints (&)[kPanelGroups]) {}
  INFERNODE_INLINE Floats operator()(Floats sums, size_t, size_t) const { return sums; }
};
template <class Sum>
struct FinishOf {
  using Type = FloatFinish;
};
template <>
struct FinishOf<Ints> {
  using Type = ByteFinish;
};

template <class Words>
struct WordTile {
  using Finish = typename FinishOf<typename Words::Sum>::Type;
  const std::byte* panel;  // [word][kPanelRows]
  const std::byte* a;      // [word][kTileRows]
  size_t n;
  const float* from;  // sums [row of a][kPanelRows]; nullptr: zeros
  std::byte* to;      // [row of a], to_stride bytes apart
  size_t to_stride;
  bool to_result;        // it is far away: asked for before it is written
  const Finish* finish;  // nullptr: `to` gets sums
  Fetched fetched;

  template <size_t kRows>
  [[gnu::noinline]] void run(size_t) const {
    using Sum = typename Words::Sum;
    Sum acc[kPanelGroups][kRows];
#pragma GCC unroll 16
    for (size_t t = 0; t < kRows; t++)
#pragma GCC unroll 4
      for (size_t g = 0; g < kPanelGroups; g++) acc[g][t] = from ? load_sums(from + t * kPanelRows + g * kLanes, Sum{}) : Sum{};
    if (to_result)
#pragma GCC unroll 16
      for (size_t t = 0; t < kRows; t++)
        for (size_t at = 0; at < kPanelRows * sizeof(float); at += 64) __builtin_prefetch(to + t * to_stride + at, 1, 2);
    const std::byte *w_at = panel, *a_at = a, *b_at = fetched.at;
    for (size_t left = n; left > 0;) {
      for (size_t i = 0; i < fetched.n; i++) {
        __builtin_prefetch(b_at + i * fetched.between, 0, 2);
        __builtin_prefetch(b_at + i * fetched.between + 64, 0, 2);
      }
      b_at += fetched.step;
      const size_t step = left < kStepWords ? left : kStepWords;
      left -= step;
      for (const std::byte* end = a_at + step * kTileRows * 4; a_at < end; a_at += kTileRows * 4, w_at += kPanelRows * 4) {
        __builtin_prefetch(a_at + kFetchedAhead, 0, 3);  // one at a time: a burst would stall
        Ints w[kPanelGroups];
#pragma GCC unroll 4
        for (size_t g = 0; g < kPanelGroups; g++) w[g] = load_ints(w_at + g * sizeof(Ints));
#pragma GCC unroll 16
        for (size_t t = 0; t < kRows; t++) {
          const Ints x = all_of(a_at + t * 4);
#pragma GCC unroll 4
          for (size_t g = 0; g < kPanelGroups; g++) acc[g][t] = Words::add(acc[g][t], w[g], x);
        }
      }
    }
#pragma GCC unroll 16
    for (size_t t = 0; t < kRows; t++)
#pragma GCC unroll 4
      for (size_t g = 0; g < kPanelGroups; g++)
        store_sums(to + t * to_stride + g * sizeof(Sum), finish ? (*finish)(acc[g][t], t, g) : acc[g][t]);
  }
};

template <class Words>
void pack_tile(const MatrixProduct& p, size_t tile, std::byte* packed, std::byte* scratch) {
  const Layout layout(p, Words::kValues);
  const WordRows a = a_rows(p);
  Ints sums = {};
  for (size_t b = 0; b < layout.n_blocks; b++) {
    std::byte* words = packed + layout.tile(b, tile);
    turn_rows<Words, kTileRows>(a, tile * kTileRows, b * layout.block, layout.words_of(b), words, scratch);
    if (bytes(p))
      for (size_t i = 0; i < layout.words_of(b); i++) sums = Int8Words::add(sums, ones(), load_ints(words + i * kTileRows * 4));
  }
  if (bytes(p)) store_ints(packed + layout.row_sums() + tile * sizeof(Ints), sums);
}

// A thread's scratch.
struct ProductScratch {
  std::byte *panel, *rows;
  float* sums;  // [m][kPanelRows]

  explicit ProductScratch(std::byte* scratch)
      : panel(scratch), rows(panel + kBlockWords * kPanelRows * 4), sums(reinterpret_cast<float*>(rows + kRowBytes * kLanes)) {}
  static size_t bytes(size_t m) { return kBlockWords * kPanelRows * 4 + kRowBytes * kLanes + m * kPanelRows * sizeof(float); }
};

// Words first … first + n of a panel's rows.
template <class Words>
void fill_panel(const MatrixProduct& p, size_t row, size_t first, size_t n, const ProductScratch& scratch) {
  const WordRows b = b_rows(p);
  const size_t n_rows = p.n - row < kPanelRows ? p.n - row : kPanelRows;
  if (p.b_turned)
    for (size_t i = 0; i < n; i++) Words::turn(b, first + i, row, n_rows, scratch.panel + i * kPanelRows * 4);
  else
    for (size_t g = 0; g < n_rows; g += kLanes)
      turn_rows<Words, kPanelRows>(b, row + g, first, n, scratch.panel + g * 4, scratch.rows);
}

// What a tile asks for of b, a block from value `first` of the rows from `row` on, each tile another part of it.
template <class Words>
Fetched fetched_by(const MatrixProduct& p, const Layout& layout, size_t row, size_t first, size_t tile) {
  const size_t n_tiles = layout.n_tiles, n_steps = layout.block / kStepWords;
  const size_t value_bytes = bytes(p) ? 1 : p.b_type == TensorType::kF32 ? 4 : 2;
  if (!p.b_turned) {
    const size_t n = (kPanelRows + n_tiles - 1) / n_tiles;
    if (tile * n >= kPanelRows) return {nullptr, 0, 0, 0};
    return {p.b + (row + tile * n) * p.b_stride + first * value_bytes, 64, p.b_stride, n};
  }
  const size_t values = layout.block * Words::kValues, parts = n_tiles * n_steps;
  const size_t n = parts == 0 ? 0 : (values + parts - 1) / parts;
  if (tile * n * n_steps >= values) return {nullptr, 0, 0, 0};
  return {p.b + (first + tile * n * n_steps) * p.b_stride + row * value_bytes, n * p.b_stride, p.b_stride, n};
}

// A panel of b: sums go from block to block, and from the last one to the result.
template <class Words>
void multiply_panel(const MatrixProduct& p, size_t row, const std::byte* packed, const ProductScratch& scratch) {
  const Layout layout(p, Words::kValues);
  const size_t n_rows = p.n - row < kPanelRows ? p.n - row : kPanelRows;
  std::byte* out = p.out + row * 4;
  Ints sums_of_b[kPanelGroups] = {};
  for (size_t b = 0; b < layout.n_blocks; b++) {
    const size_t n = layout.words_of(b);
    fill_panel<Words>(p, row, b * layout.block, n, scratch);
    if (bytes(p))
      for (size_t i = 0; i < n; i++)
        for (size_t g = 0; g < kPanelGroups; g++)
          sums_of_b[g] = Int8Words::add(sums_of_b[g], load_ints(scratch.panel + (i * kPanelGroups + g) * sizeof(Ints)), ones());
    const bool last = b + 1 == layout.n_blocks, into_out = last && n_rows == kPanelRows;
    const size_t next_row = last ? row + kPanelRows : row, next = last ? 0 : (b + 1) * layout.block * Words::kValues;
    typename WordTile<Words>::Finish finish;
    if (last) finish = {p, row, sums_of_b};
    for (size_t t = 0; t < layout.n_tiles; t++) {
      float* sums = scratch.sums + t * kTileRows * kPanelRows;
      finish.sums_of_a = packed + layout.row_sums() + t * sizeof(Ints);
      const WordTile<Words> tile{scratch.panel,
                                 packed + layout.tile(b, t),
                                 n,
                                 b == 0 ? nullptr : sums,
                                 into_out ? out + t * kTileRows * p.out_stride : reinterpret_cast<std::byte*>(sums),
                                 into_out ? p.out_stride : kPanelRows * sizeof(float),
                                 into_out,
                                 last ? &finish : nullptr,
                                 fetched_by<Words>(p, layout, next_row, next, t)};
      const size_t rows = p.m - t * kTileRows;
      run_tile<kTileRows>(tile, rows < kTileRows ? rows : kTileRows, 0);
    }
  }
  if (n_rows < kPanelRows)
    for (size_t i = 0; i < p.m; i++) __builtin_memcpy(out + i * p.out_stride, scratch.sums + i * kPanelRows, n_rows * 4);
}

// Calls f(kind of words) for the kind that b is multiplied in.
template <class F>
INFERNODE_INLINE auto with_words(const MatrixProduct& p, F&& f) {
  if (bytes(p)) return f(ByteWords());
#ifdef INFERNODE_BF16_PAIRS
  if (p.b_type == TensorType::kBf16) return f(PairWords());
#endif
  return f(FloatWords());
}

// ---- what ProductKernel asks for

inline size_t packed_bytes(const MatrixProduct& p) {
  const size_t values = with_words(p, [](auto words) { return decltype(words)::kValues; });
  const Layout layout(p, values);
  return layout.row_sums() + (bytes(p) ? (layout.n_tiles * sizeof(Ints) + 63) / 64 * 64 : 0);
}
inline size_t pack_items(const MatrixProduct& p) { return Layout(p, 1).n_tiles; }
inline void pack(const MatrixProduct& p, size_t item, std::byte* packed, std::byte* scratch) {
  with_words(p, [&](auto words) { pack_tile<decltype(words)>(p, item, packed, ProductScratch(scratch).rows); });
}
inline size_t product_scratch(const MatrixProduct& p) { return ProductScratch::bytes(p.m); }
inline void multiply_matrices(const MatrixProduct& p, size_t item, const std::byte* packed, std::byte* memory) {
  const ProductScratch scratch(memory);
  with_words(p, [&](auto words) {
    for (size_t row = item * kItemRows; row < p.n && row < (item + 1) * kItemRows; row += kPanelRows)
      multiply_panel<decltype(words)>(p, row, packed, scratch);
  });
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
