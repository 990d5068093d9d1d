// Products with f32 activations: f32, f16, bf16, and every type that has no integer product, decoded.
// The contract: one f32 accumulator per output, acc = fma(w, x, acc) for each k in increasing order.
// One token reads the weights at the speed of memory; many need 2 * rows * cols * tokens operations of the FMA units.
#pragma once

#include "cpu/kernels/decode.h"
#include "cpu/kernels/multiply.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

constexpr size_t kStreamedTokens = 2;  // so many are multiplied one by one, without a panel

// ---- one token: rows are read as they lie in the file, kLanes at once, and turned in registers by words of 32 bits

// The values in a word of a row, the first one lowest.
struct F32Words {
  static constexpr size_t kValues = 1;
  INFERNODE_INLINE static Floats value(Ints words, size_t) { return as_floats(words); }
};
struct F16Words {
  static constexpr size_t kValues = 2;
  INFERNODE_INLINE static Floats value(Ints words, size_t i) { return halves_to_floats(i == 0 ? words : words >> 16); }
};
struct Bf16Words {
  static constexpr size_t kValues = 2;
  INFERNODE_INLINE static Floats value(Ints words, size_t i) {
    return as_floats(i == 0 ? words << 16 : words & static_cast<int>(0xffff0000));
  }
};

// Adds the first n values of the words: rows in, columns of words inside.
template <class Words>
INFERNODE_INLINE void add_words(Ints (&words)[kLanes], const float* x, size_t n, Floats& acc) {
  transpose(words);
#pragma GCC unroll 32
  for (size_t i = 0; i < n; i++)
    acc = multiply_add(Words::value(words[i / Words::kValues], i % Words::kValues), all_floats(x[i]), acc);
}

// Every sum is one chain of additions: the groups of a panel go side by side, so that the adders do not wait.
template <class Words>
[[gnu::noinline]] void stream_floats(const RowGroup (&groups)[kPanelGroups], size_t cols, const float* x, Ahead ahead, float* sums) {
  constexpr size_t step = kLanes * Words::kValues;  // values in a vector of words
  Floats acc[kPanelGroups] = {};
  Ints words[kLanes];
  size_t k = 0;
  for (; k + step <= cols; k += step)
#pragma GCC unroll 4
    for (size_t g = 0; g < kPanelGroups; g++) {
      ahead.fetch<kLanes * sizeof(Ints)>();
#pragma GCC unroll 16
      for (size_t i = 0; i < kLanes; i++) words[i] = load_ints(groups[g].at(i) + k * (4 / Words::kValues));
      add_words<Words>(words, x + k, step, acc[g]);
    }
  for (size_t g = 0; g < kPanelGroups; g++) {
    if (k < cols) {
      for (size_t i = 0; i < kLanes; i++) {
        std::byte end[sizeof(Ints)] = {};
        __builtin_memcpy(end, groups[g].at(i) + k * (4 / Words::kValues), (cols - k) * (4 / Words::kValues));
        words[i] = load_ints(end);
      }
      add_words<Words>(words, x + k, cols - k, acc[g]);
    }
    store_floats(sums + g * kLanes, acc[g]);
  }
}

// The groups of a panel that has all its rows.
INFERNODE_INLINE void panel_groups(const Product& p, size_t first, RowGroup (&groups)[kPanelGroups]) {
  for (size_t g = 0; g < kPanelGroups; g++) groups[g] = row_group(p, first + g * kLanes, 0, p.weight.row_bytes);
}

template <class Words>
void stream_floats(const Product& p, size_t first) {
  RowGroup groups[kPanelGroups];
  panel_groups(p, first, groups);
  for (size_t t = 0; t < p.x.n; t++)
    stream_floats<Words>(groups, p.weight.cols, reinterpret_cast<const float*>(p.x.data + t * p.x.stride),
                         ahead_of_rows(p, first, kPanelRows), p.sums + t * kItemRows + first);
}
// Whether it did: not for types that have no words, nor for panels that lack rows.
INFERNODE_INLINE bool streamed_floats(const Product& p, size_t first) {
  if (p.x.n > kStreamedTokens || p.n_rows - first < kPanelRows) return false;
  switch (p.weight.type) {
    case TensorType::kF32: stream_floats<F32Words>(p, first); return true;
    case TensorType::kF16: stream_floats<F16Words>(p, first); return true;
    case TensorType::kBf16: stream_floats<Bf16Words>(p, first); return true;
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
