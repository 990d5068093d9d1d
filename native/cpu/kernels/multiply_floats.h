// Products with f32 activations: f32, f16, bf16, and every type that has no integer product yet, decoded.
// The contract: one f32 accumulator per output, acc = fma(w, x, acc) for each k in increasing order.
#pragma once

#include "cpu/kernels/decode.h"
#include "cpu/kernels/multiply.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

constexpr size_t kFloatPanelValues = 256;  // a multiple of every block; 32 KB of panel stay in L1
static_assert(kPanelBytes >= kFloatPanelValues * (kPanelRows + kLanes) * sizeof(float));

// Rows → panel [k][kPanelGroups][kLanes]: one row per lane.
inline void unpack_floats(const Product& p, size_t first_row, size_t k, size_t n, float* rows, float* panel) {
  for (size_t g = 0; g < kPanelGroups && first_row + g * kLanes < p.n_rows; g++) {
    const RowGroup group = row_group(p, first_row + g * kLanes);
    for (size_t i = 0; i <= group.last; i++)
      decode_values(p.weight.type, group.at<true>(i), k, n, rows + i * kFloatPanelValues);
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
  for (size_t first = 0; first < p.n_rows; first += kPanelRows) {
    float* sums = p.sums + first;
    for (size_t t = 0; t < p.x.n; t++)
      for (size_t g = 0; g < kPanelGroups; g++) store_floats(sums + t * kItemRows + g * kLanes, Floats{});
    for (size_t k = 0; k < p.weight.cols; k += kFloatPanelValues) {
      const size_t n = p.weight.cols - k < kFloatPanelValues ? p.weight.cols - k : kFloatPanelValues;
      unpack_floats(p, first, k, n, rows, panel);
      for_tokens<kFloatTokens>(p.x.n, FloatTile{panel, p.x, k, n, sums});
    }
  }
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
