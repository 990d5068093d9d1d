// Products with f32 activations: f32, f16, bf16, and every type that has no integer product, decoded.
// The contract: one f32 accumulator per output, acc = fma(w, x, acc) for each k in increasing order.
// One token reads the weights at the speed of memory; many need 2 * rows * cols * tokens operations of the FMA units.
#pragma once

#include "cpu/kernels/decode.h"
#include "cpu/kernels/multiply.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

// So many tokens share weights in the registers in which they are turned; more share a panel.
constexpr size_t kStreamedTokens = kFloatTokens < 12 ? 2 : 4;

// ---- few tokens: rows are read as they lie in the file, kLanes at once, and turned in registers by words of 32 bits

// The kinds of words: how many values one has, the first one lowest, how many bytes an activation, and what adds the products
// of the first n values.
struct F32Words {
  static constexpr size_t kValues = 1, kActivationBytes = 4;
  INFERNODE_INLINE static Floats add(Ints word, const std::byte* x, size_t, Floats acc) {
    return multiply_add(as_floats(word), as_floats(all_of(x)), acc);
  }
};
template <class Halves>
struct HalfWords {
  static constexpr size_t kValues = 2, kActivationBytes = 4;
  INFERNODE_INLINE static Floats add(Ints word, const std::byte* x, size_t n, Floats acc) {
    acc = multiply_add(Halves::low(word), as_floats(all_of(x)), acc);
    return n < 2 ? acc : multiply_add(Halves::high(word), as_floats(all_of(x + 4)), acc);
  }
};
struct F16Words : HalfWords<F16Words> {
  INFERNODE_INLINE static Floats low(Ints word) { return halves_to_floats(word); }
  INFERNODE_INLINE static Floats high(Ints word) { return halves_to_floats(word >> 16); }
};
struct Bf16Words : HalfWords<Bf16Words> {
  INFERNODE_INLINE static Floats low(Ints word) { return as_floats(word << 16); }
  INFERNODE_INLINE static Floats high(Ints word) { return as_floats(word & static_cast<int>(0xffff0000)); }
};

// Adds n values, from value k of the rows on, to the sums of all tokens; `left` values are in the rows from there on.
template <class Words, size_t kTokens>
INFERNODE_INLINE void add_words(const RowGroup& rows, size_t k, size_t n, size_t left, const std::byte* x, size_t stride,
                                Floats (&acc)[kTokens]) {
  constexpr size_t value_bytes = 4 / Words::kValues, step = kLanes * Words::kValues;
  Ints words[kLanes];
  if (left >= step) {
#pragma GCC unroll 16
    for (size_t i = 0; i < kLanes; i++) words[i] = load_ints(rows.at(i) + k * value_bytes);
  } else {
    for (size_t i = 0; i < kLanes; i++) {
      std::byte end[sizeof(Ints)] = {};
      __builtin_memcpy(end, rows.at(i) + k * value_bytes, left * value_bytes);
      words[i] = load_ints(end);
    }
  }
  transpose(words);
#pragma GCC unroll 16
  for (size_t i = 0; i < kLanes; i++) {
    const size_t value = i * Words::kValues;
    if (value >= n) break;
#pragma GCC unroll 8
    for (size_t t = 0; t < kTokens; t++)
      acc[t] = Words::add(words[i], x + t * stride + value * Words::kActivationBytes, n - value, acc[t]);
  }
}
// A step that is not a whole one.
template <class Words, size_t kTokens>
[[gnu::noinline]] void add_part(const RowGroup& rows, size_t k, size_t n, size_t left, const std::byte* x, size_t stride,
                                float* sums) {
  Floats acc[kTokens];
  for (size_t t = 0; t < kTokens; t++) acc[t] = load_floats(sums + t * kItemRows);
  add_words<Words>(rows, k, n, left, x, stride, acc);
  for (size_t t = 0; t < kTokens; t++) store_floats(sums + t * kItemRows, acc[t]);
}
// Values before the first one at a multiple of a vector's size, if that is the same in all rows: a vector that crosses a line
// of the cache is loaded from two, and where rows are a multiple of 4 KB apart, all their lines have one set and do not stay
// until the next vector.
template <class Words>
INFERNODE_INLINE size_t values_before_line(const RowGroup& rows, size_t k) {
  constexpr size_t value_bytes = 4 / Words::kValues;
  const size_t before = -(reinterpret_cast<uintptr_t>(rows.first) + k * value_bytes) % sizeof(Ints);
  return rows.by_1 % sizeof(Ints) == 0 && before % 4 == 0 ? before / value_bytes : 0;
}

// The rows of a panel: every sum is one chain of additions, so the groups go side by side and the adders do not wait.
template <class Words>
struct StreamedRows {
  RowGroup groups[kPanelGroups];
  size_t first, n;     // values
  const std::byte* x;  // activations from value `first` on
  size_t stride;       // bytes between those of two tokens
  Ahead ahead;
  float* sums;

  template <size_t kTokens>
  [[gnu::noinline]] void run(size_t token) const {
    constexpr size_t step = kLanes * Words::kValues, x_bytes = Words::kActivationBytes;
    const std::byte* from = x + token * stride;
    float* to = sums + token * kItemRows;
    const auto add_end = [&](size_t k, size_t values) {
      for (size_t g = 0; g < kPanelGroups; g++)
        add_part<Words, kTokens>(groups[g], first + k, values, n - k, from + k * x_bytes, stride, to + g * kLanes);
    };
    const size_t before = values_before_line<Words>(groups[0], first);
    size_t k = before < n ? before : n;
    if (k > 0) add_end(0, k);
    Floats acc[kPanelGroups][kTokens];
    for (size_t g = 0; g < kPanelGroups; g++)
#pragma GCC unroll 8
      for (size_t t = 0; t < kTokens; t++) acc[g][t] = load_floats(to + t * kItemRows + g * kLanes);
    Ahead fetched = ahead;
    for (; k + step <= n; k += step)
#pragma GCC unroll 4
      for (size_t g = 0; g < kPanelGroups; g++) {
        fetched.fetch<kLanes * sizeof(Ints)>();
        add_words<Words>(groups[g], first + k, step, step, from + k * x_bytes, stride, acc[g]);
      }
    for (size_t g = 0; g < kPanelGroups; g++)
#pragma GCC unroll 8
      for (size_t t = 0; t < kTokens; t++) store_floats(to + t * kItemRows + g * kLanes, acc[g][t]);
    if (k < n) add_end(k, n - k);
  }
};
// Values first … first + n of a panel that has all its rows.
template <class Words>
INFERNODE_INLINE void stream_rows(const Product& p, size_t row, size_t first, size_t n, const std::byte* x, size_t stride) {
  StreamedRows<Words> rows{{}, first, n, x, stride, ahead_of_rows(p, row, kPanelRows), p.sums + row};
  for (size_t g = 0; g < kPanelGroups; g++) rows.groups[g] = row_group(p, row + g * kLanes, 0, p.weight.row_bytes);
  for_tokens<kStreamedTokens>(p.x.n, rows);
}

// Whether it did: not for types that have no words, nor for panels that lack rows.
INFERNODE_INLINE bool streamed_floats(const Product& p, size_t row) {
  if (p.x.n > kStreamedTokens || p.n_rows - row < kPanelRows) return false;
  switch (p.weight.type) {
    case TensorType::kF32: stream_rows<F32Words>(p, row, 0, p.weight.cols, p.x.data, p.x.stride); return true;
    case TensorType::kF16: stream_rows<F16Words>(p, row, 0, p.weight.cols, p.x.data, p.x.stride); return true;
    case TensorType::kBf16: stream_rows<Bf16Words>(p, row, 0, p.weight.cols, p.x.data, p.x.stride); return true;
    default: return false;
  }
}

// ---- several tokens

constexpr size_t kFloatPanelValues = 256;  // a multiple of every block; 32 KB of panel stay in L1
static_assert(kPanelBytes - kCopyBytes >= kFloatPanelValues * (kPanelRows + kLanes) * sizeof(float));

// Rows → panel [k][kPanelGroups][kLanes]: one row per lane.
inline void unpack_floats(const Product& p, size_t first_row, size_t k, size_t n, float* rows, float* panel) {
  for (size_t g = 0; g < kPanelGroups && first_row + g * kLanes < p.n_rows; g++) {
    const std::byte* group = p.weight.data + (p.row + first_row + g * kLanes) * p.weight.row_bytes;
    for (size_t i = 0; i < kLanes && first_row + g * kLanes + i < p.n_rows; i++)
      decode_values(p.weight.type, group + i * p.weight.row_bytes, k, n, rows + i * kFloatPanelValues);
    for (size_t j = 0; j < n; j += kLanes) {
      Ints w[kLanes];
#pragma GCC unroll 16
      for (size_t i = 0; i < kLanes; i++) w[i] = load_ints(rows + i * kFloatPanelValues + j);
      transpose(w);
#pragma GCC unroll 16
      for (size_t i = 0; i < kLanes; i++) store_ints(panel + ((j + i) * kPanelGroups + g) * kLanes, w[i]);
    }
  }
}

struct FloatTile {
  const float* panel;
  const Rows& x;
  size_t first, n;  // values of k
  float* sums;

  template <size_t kTokens>
  [[gnu::noinline]] void run(size_t token) const {
    const float* values[kTokens];
    Floats acc[kPanelGroups][kTokens];
#pragma GCC unroll 16
    for (size_t t = 0; t < kTokens; t++) {
      values[t] = reinterpret_cast<const float*>(x.data + (token + t) * x.stride) + first;
      for (size_t g = 0; g < kPanelGroups; g++) acc[g][t] = load_floats(sums + (token + t) * kItemRows + g * kLanes);
    }
    for (size_t k = 0; k < n; k++) {
      Floats w[kPanelGroups];
      for (size_t g = 0; g < kPanelGroups; g++) w[g] = load_floats(panel + (k * kPanelGroups + g) * kLanes);
#pragma GCC unroll 16
      for (size_t t = 0; t < kTokens; t++)
        for (size_t g = 0; g < kPanelGroups; g++) acc[g][t] = multiply_add(w[g], all_floats(values[t][k]), acc[g][t]);
    }
#pragma GCC unroll 16
    for (size_t t = 0; t < kTokens; t++)
      for (size_t g = 0; g < kPanelGroups; g++) store_floats(sums + (token + t) * kItemRows + g * kLanes, acc[g][t]);
  }
};

inline void multiply_floats(const Product& p) {
  float* rows = reinterpret_cast<float*>(p.panel);
  float* panel = rows + kLanes * kFloatPanelValues;
  clear_sums(p);
  for (size_t first = 0; first < p.n_rows; first += kPanelRows) {
    float* sums = p.sums + first;
    if (streamed_floats(p, first)) continue;
    for (size_t k = 0; k < p.weight.cols; k += kFloatPanelValues) {
      const size_t n = p.weight.cols - k < kFloatPanelValues ? p.weight.cols - k : kFloatPanelValues;
      unpack_floats(p, first, k, n, rows, panel);
      for_tokens<kFloatTokens>(p.x.n, FloatTile{panel, p.x, k, n, sums});
    }
  }
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
