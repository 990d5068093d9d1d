// Products with bf16 weights where the CPU multiplies pairs of bf16 (add_bf16_pairs of the variant): twice the rate of f32.
// The contract: activations rounded to bf16 to nearest even, one f32 accumulator per output, one add_bf16_pairs for each pair
// (k, k + 1) in increasing order; a single last value is paired with zeros.
#pragma once

#include "cpu/kernels/multiply_floats.h"
#include "cpu/kernels/rows.h"
#include "cpu/kernels/words.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

constexpr size_t kPairsOfStep = kLanes, kValuesOfStep = 2 * kLanes;
// Of a panel: 16 to 32 KB stay in L1 beside a tile's activations.
constexpr size_t kPanelPairs = 192;
constexpr size_t kPairTokens = kFloatTokens;
// Of rows of activations, converted at once for few tokens.
constexpr size_t kStreamedValues = 32768;
static_assert(kPanelBytes >= kPanelPairs * kPanelRows * 4 && kPanelBytes >= kStreamedValues * 2 && kStreamedValues % kValuesOfStep == 0);

// n values as pairs; fills the last step with zeros.
INFERNODE_INLINE void convert_row(const float* x, size_t n, std::byte* pairs) {
  size_t k = 0;
  for (; k + kValuesOfStep <= n; k += kValuesOfStep) store_ints(pairs + k * 2, to_bf16_pairs(x + k));
  if (k < n) {
    float end[kValuesOfStep] = {};
    __builtin_memcpy(end, x + k, (n - k) * sizeof(float));
    store_ints(pairs + k * 2, to_bf16_pairs(end));
  }
}

// The words of n_rows rows from value k on, n of them at most: columns of pairs. Past the end of the rows: zeros.
INFERNODE_INLINE void load_pairs(const RowGroup& rows, size_t n_rows, size_t k, size_t n, Ints (&words)[kLanes]) {
  if (n >= kValuesOfStep && n_rows >= kLanes) {
#pragma GCC unroll 16
    for (size_t i = 0; i < kLanes; i++) words[i] = load_ints(rows.at(i) + k * 2);
  } else {
    for (size_t i = 0; i < kLanes; i++) {
      std::byte end[sizeof(Ints)] = {};
      __builtin_memcpy(end, rows.at(i < n_rows ? i : n_rows - 1) + k * 2, (n < kValuesOfStep ? n : kValuesOfStep) * 2);
      words[i] = load_ints(end);
    }
  }
  transpose(words);
}

// Pairs as words of a product of matrices.
struct PairWords {
  using Sum = Floats;
  static constexpr size_t kValues = 2;
  INFERNODE_INLINE static Floats add(Floats sum, Ints w, Ints a) { return add_bf16_pairs(sum, w, a); }
  static bool stored(TensorType type) { return type == TensorType::kBf16; }
  static void convert(TensorType, const std::byte* row, size_t first, size_t n, std::byte* words) {
    convert_row(reinterpret_cast<const float*>(row) + first, n, words);
  }
  static void turn(const WordRows& rows, size_t word, size_t first, size_t n, std::byte* words) {
    uint16_t low[kPanelRows], high[kPanelRows] = {};
    uint32_t pairs[kPanelRows];
    const std::byte* values = rows.data + 2 * word * rows.stride + first * 2;
    __builtin_memcpy(low, values, n * 2);
    if (2 * word + 1 < rows.k) __builtin_memcpy(high, values + rows.stride, n * 2);
    for (size_t i = 0; i < kPanelRows; i++) pairs[i] = low[i] | static_cast<uint32_t>(high[i]) << 16;
    __builtin_memcpy(words, pairs, n * 4);
  }
};

// ---- few tokens

struct StreamedPairs {
  static constexpr size_t kValues = 2, kActivationBytes = 2;
  INFERNODE_INLINE static Floats add(Ints word, const std::byte* x, size_t, Floats acc) {
    return add_bf16_pairs(acc, word, all_of(x));
  }
};

inline void stream_pairs(const Product& p) {
  clear_sums(p);
  const size_t most = kStreamedValues / p.x.n / kValuesOfStep * kValuesOfStep;
  for (size_t k = 0; k < p.weight.cols; k += most) {
    const size_t n = p.weight.cols - k < most ? p.weight.cols - k : most, stride = round_up(n, kValuesOfStep) * 2;
    for (size_t t = 0; t < p.x.n; t++)
      convert_row(reinterpret_cast<const float*>(p.x.data + t * p.x.stride) + k, n, p.panel + t * stride);
    for (size_t row = 0; row < p.n_rows; row += kPanelRows) stream_rows<StreamedPairs>(p, row, k, n, p.panel, stride);
  }
}

// ---- several tokens

[[gnu::noinline]] inline void unpack_pairs(const RowGroup& rows, size_t n_rows, size_t g, size_t k, size_t n, Ahead& ahead,
                                           std::byte* panel) {
  for (size_t i = 0; i < n; i += kValuesOfStep) {
    ahead.fetch<kLanes * sizeof(Ints)>();
    Ints words[kLanes];
    load_pairs(rows, n_rows, k + i, n - i, words);
#pragma GCC unroll 16
    for (size_t j = 0; j < kPairsOfStep; j++) store_ints(panel + ((i / 2 + j) * kPanelGroups + g) * sizeof(Ints), words[j]);
  }
}

struct PairTile {
  const std::byte* panel;  // [pair][kPanelGroups][kLanes * 4]
  const Rows& x;
  size_t first, n;  // values of k
  float* sums;

  template <size_t kTokens>
  [[gnu::noinline]] void run(size_t token) const {
    alignas(64) std::byte pairs[kTokens][kPanelPairs * 4];
    Floats acc[kPanelGroups][kTokens];
#pragma GCC unroll 16
    for (size_t t = 0; t < kTokens; t++) {
      convert_row(reinterpret_cast<const float*>(x.data + (token + t) * x.stride) + first, n, pairs[t]);
      for (size_t g = 0; g < kPanelGroups; g++) acc[g][t] = load_floats(sums + (token + t) * kItemRows + g * kLanes);
    }
    for (size_t i = 0; i < (n + 1) / 2; i++) {
      Ints w[kPanelGroups];
      for (size_t g = 0; g < kPanelGroups; g++) w[g] = load_ints(panel + (i * kPanelGroups + g) * sizeof(Ints));
#pragma GCC unroll 16
      for (size_t t = 0; t < kTokens; t++) {
        const Ints a = all_of(pairs[t] + i * 4);
        for (size_t g = 0; g < kPanelGroups; g++) acc[g][t] = add_bf16_pairs(acc[g][t], w[g], a);
      }
    }
#pragma GCC unroll 16
    for (size_t t = 0; t < kTokens; t++)
      for (size_t g = 0; g < kPanelGroups; g++) store_floats(sums + (token + t) * kItemRows + g * kLanes, acc[g][t]);
  }
};

inline void multiply_bf16_pairs(const Product& p) {
  if (p.x.n <= kStreamedTokens && p.n_rows % kPanelRows == 0) return stream_pairs(p);
  clear_sums(p);
  for (size_t first = 0; first < p.n_rows; first += kPanelRows) {
    float* sums = p.sums + first;
    Ahead ahead = ahead_of_rows(p, first, kPanelRows);
    for (size_t k = 0; k < p.weight.cols; k += 2 * kPanelPairs) {
      const size_t n = p.weight.cols - k < 2 * kPanelPairs ? p.weight.cols - k : 2 * kPanelPairs;
      for (size_t g = 0; g < kPanelGroups && first + g * kLanes < p.n_rows; g++) {
        const size_t row = first + g * kLanes;
        const RowGroup rows{p.weight.data + (p.row + row) * p.weight.row_bytes, p.weight.row_bytes};
        unpack_pairs(rows, p.n_rows - row, g, k, n, ahead, p.panel);
      }
      for_tokens<kPairTokens>(p.x.n, PairTile{p.panel, p.x, k, n, sums});
    }
  }
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
