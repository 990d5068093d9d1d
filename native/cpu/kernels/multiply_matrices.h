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
    block = n_words < kBlockWords ? n_words : kBlockWords;
    n_blocks = block == 0 ? 0 : (n_words + block - 1) / block;
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

template <class Words>
struct WordTile {
  const std::byte* panel;  // [word][kPanelRows]
  const std::byte* a;      // [word][kTileRows]
  size_t n;
  float* sums;  // [row of a][kItemRows]
  Fetched fetched;

  template <size_t kRows>
  [[gnu::noinline]] void run(size_t) const {
    using Sum = typename Words::Sum;
    Sum acc[kPanelGroups][kRows];
#pragma GCC unroll 16
    for (size_t t = 0; t < kRows; t++)
#pragma GCC unroll 4
      for (size_t g = 0; g < kPanelGroups; g++) acc[g][t] = load_sums(sums + t * kItemRows + g * kLanes, Sum{});
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
      for (size_t g = 0; g < kPanelGroups; g++) store_sums(sums + t * kItemRows + g * kLanes, acc[g][t]);
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
  int32_t* sums_of_b;  // [kItemRows]
  float* sums;         // [m][kItemRows]

  explicit ProductScratch(std::byte* scratch)
      : panel(scratch),
        rows(panel + kBlockWords * kPanelRows * 4),
        sums_of_b(reinterpret_cast<int32_t*>(rows + kRowBytes * kLanes)),
        sums(reinterpret_cast<float*>(sums_of_b + kItemRows)) {}
  static size_t bytes(size_t m) {
    return kBlockWords * kPanelRows * 4 + kRowBytes * kLanes + kItemRows * sizeof(int32_t) * (1 + m);
  }
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

// What a tile asks for of b from value `first` of the rows from `row` on, each tile another part of it.
template <class Words>
Fetched fetched_by(const MatrixProduct& p, size_t row, size_t first, size_t tile, size_t n_tiles) {
  constexpr size_t kSteps = kBlockWords / kStepWords;
  const size_t value_bytes = bytes(p) ? 1 : p.b_type == TensorType::kF32 ? 4 : 2;
  if (!p.b_turned) {
    const size_t n = (kPanelRows + n_tiles - 1) / n_tiles;
    if (tile * n >= kPanelRows) return {nullptr, 0, 0, 0};
    return {p.b + (row + tile * n) * p.b_stride + first * value_bytes, 64, p.b_stride, n};
  }
  const size_t values = kBlockWords * Words::kValues, n = (values + n_tiles * kSteps - 1) / (n_tiles * kSteps);
  if (tile * n * kSteps >= values) return {nullptr, 0, 0, 0};
  return {p.b + (first + tile * n * kSteps) * p.b_stride + row * value_bytes, n * p.b_stride, p.b_stride, n};
}

template <class Words>
void multiply_item(const MatrixProduct& p, size_t item, const std::byte* packed, const ProductScratch& scratch) {
  const Layout layout(p, Words::kValues);
  for (size_t i = 0; i < p.m * kItemRows; i += kLanes) store_floats(scratch.sums + i, Floats{});
  for (size_t panel = 0; panel < kItemRows && item * kItemRows + panel < p.n; panel += kPanelRows) {
    const size_t row = item * kItemRows + panel;
    Ints sums_of_b[kPanelGroups] = {};
    for (size_t b = 0; b < layout.n_blocks; b++) {
      const size_t n = layout.words_of(b);
      fill_panel<Words>(p, row, b * layout.block, n, scratch);
      if (bytes(p))
        for (size_t i = 0; i < n; i++)
          for (size_t g = 0; g < kPanelGroups; g++)
            sums_of_b[g] = Int8Words::add(sums_of_b[g], load_ints(scratch.panel + (i * kPanelGroups + g) * sizeof(Ints)), ones());
      const bool last = b + 1 == layout.n_blocks;
      const size_t next_row = last ? row + kPanelRows : row, next = last ? 0 : (b + 1) * layout.block * Words::kValues;
      for (size_t t = 0; t < layout.n_tiles; t++) {
        const WordTile<Words> tile{scratch.panel, packed + layout.tile(b, t), n, scratch.sums + t * kTileRows * kItemRows + panel,
                                   fetched_by<Words>(p, next_row, next, t, layout.n_tiles)};
        const size_t rows = p.m - t * kTileRows;
        run_tile<kTileRows>(tile, rows < kTileRows ? rows : kTileRows, 0);
      }
    }
    if (bytes(p))
      for (size_t g = 0; g < kPanelGroups; g++) store_ints(scratch.sums_of_b + panel + g * kLanes, sums_of_b[g]);
  }
}

// Σ (a − za)(b − zb) = Σ a·b − za Σ b − zb Σ a + k·za·zb, all modulo 2^32; zero points with the offsets of stored bytes.
inline void finish_bytes(const MatrixProduct& p, size_t first, const std::byte* packed, const ProductScratch& scratch) {
  const std::byte* sums_of_a = packed + Layout(p, Int8Words::kValues).row_sums();
  const uint32_t zero_a = static_cast<uint32_t>(p.zero_a + offset_of(p.a_type, true));
  const size_t n = p.n - first < kItemRows ? p.n - first : kItemRows;
  uint32_t zero_b[kItemRows], for_all[kItemRows];
  float scale[kItemRows] = {};
  for (size_t j = 0; j < kItemRows; j++) {
    const size_t at = first + (j < n ? j : 0);
    const int32_t zero = p.zero_b.data ? p.zero_b.data[p.zero_b.one ? 0 : at] : 0;
    zero_b[j] = static_cast<uint32_t>(zero) + static_cast<uint32_t>(offset_of(p.b_type, kSignedWords));
    for_all[j] = zero_a * (static_cast<uint32_t>(p.k) * zero_b[j] - static_cast<uint32_t>(scratch.sums_of_b[j]));
    if (p.scale_b.data) scale[j] = p.scale_a * p.scale_b.data[p.scale_b.one ? 0 : at];
  }
  for (size_t i = 0; i < p.m; i++) {
    uint32_t sum_of_a;
    __builtin_memcpy(&sum_of_a, sums_of_a + i / kTileRows * sizeof(Ints) + i % kTileRows * 4, 4);
    int32_t sums[kItemRows];
    __builtin_memcpy(sums, scratch.sums + i * kItemRows, sizeof sums);
    for (size_t j = 0; j < kItemRows; j++)
      sums[j] = static_cast<int32_t>(static_cast<uint32_t>(sums[j]) + for_all[j] - zero_b[j] * sum_of_a);
    std::byte* out = p.out + i * p.out_stride + first * 4;
    if (p.scale_b.data) {
      float scaled[kItemRows];
      for (size_t j = 0; j < kItemRows; j++) scaled[j] = static_cast<float>(sums[j]) * scale[j];
      __builtin_memcpy(out, scaled, n * 4);
    } else {
      __builtin_memcpy(out, sums, n * 4);
    }
  }
}

inline void finish_floats(const MatrixProduct& p, size_t first, const ProductScratch& scratch) {
  const size_t n = p.n - first < kItemRows ? p.n - first : kItemRows;
  for (size_t i = 0; i < p.m; i++) {
    std::byte* out = p.out + i * p.out_stride + first * 4;
    const float* sums = scratch.sums + i * kItemRows;
    if (n == kItemRows)
      __builtin_memcpy(out, sums, kItemRows * 4);
    else
      __builtin_memcpy(out, sums, n * 4);
  }
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
  with_words(p, [&](auto words) { multiply_item<decltype(words)>(p, item, packed, scratch); });
  if (bytes(p)) return finish_bytes(p, item * kItemRows, packed, scratch);
  finish_floats(p, item * kItemRows, scratch);
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
