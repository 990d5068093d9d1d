// Dot products where the CPU adds up four products of bytes without saturation, in one instruction; over add_quads of the variant.
#pragma once

#include "cpu/kernels/panel_bytes.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

// Sums do not depend on how large stored weights are, so one instance of a tile serves all types of its form.
constexpr size_t chain_of(int) { return 1; }

template <size_t kChain>
using Prepared = PanelBytes;
// What is added to the sums of stored weights: -offset times the activations' sum.
template <size_t kChain>
INFERNODE_INLINE Ints offset_dots(const int32_t& sum, int32_t offset) {
  return all_ints(-offset * sum);
}

// Lane i: the sum of four products.
template <size_t kChain>
INFERNODE_INLINE Ints dot4(Ints weights, Ints activations) {
  return add_quads(Ints{}, weights, activations);
}
// What multiply_matrices.h makes words of: four bytes, those of `w` unsigned if there is a kByteOffset.
struct Int8Words {
  using Sum = Ints;
  static constexpr size_t kValues = 4;
  INFERNODE_INLINE static Ints add(Ints sum, Ints w, Ints a) { return add_quads(sum, w, a); }
};
// The instructions that bound the tiles: kStep multiply-adds, of which so many must run side by side. For measuring.
constexpr size_t kPeakSums = kLanes == 16 ? 16 : 12;
INFERNODE_INLINE Ints peak_step(Ints sum, Ints weights, Ints activations) { return add_quads(sum, weights, activations); }
// How a panel keeps sub-block scales for add_scaled_dots.
INFERNODE_INLINE Ints packed_scale(Ints scale) { return scale; }

// sums[g][t] += the dot products of 4 * kRuns values, from value k of each activation row on.
template <size_t kChain, size_t kRuns, class Weights, size_t kGroups, size_t kTokens>
INFERNODE_INLINE void add_dots(const Weights& weights, const int8_t* const (&x)[kTokens], size_t k, Ints (&sums)[kGroups][kTokens]) {
  // Few tokens make few chains of dependent additions: two for each long sum then.
  constexpr size_t chains = kTokens <= 3 && kRuns > 4 ? 2 : 1;
  Ints second[kGroups][kTokens] = {};
#pragma GCC unroll 8
  for (size_t run = 0; run < kRuns; run++) {
    Ints(&into)[kGroups][kTokens] = run % chains == 0 ? sums : second;
    Ints w[kGroups];
    for (size_t g = 0; g < kGroups; g++) w[g] = weights(run, g).bytes;
#ifdef INFERNODE_ADDS_QUADS_OF_MEMORY
    if constexpr (kGroups == 1) {
      for (size_t t = 0; t < kTokens; t++) into[0][t] = add_quads_of(into[0][t], w[0], x[t] + k + run * 4);
      continue;
    }
#endif
#pragma GCC unroll 16
    for (size_t t = 0; t < kTokens; t++) {
      const Ints a = all_of(x[t] + k + run * 4);
      for (size_t g = 0; g < kGroups; g++) into[g][t] = add_quads(into[g][t], w[g], a);
    }
  }
  if constexpr (chains == 2)
    for (size_t g = 0; g < kGroups; g++)
      for (size_t t = 0; t < kTokens; t++) sums[g][t] += second[g][t];
}
// sums[g][t] += scale[g] * (those dot products).
template <size_t kChain, size_t kRuns, class Weights, size_t kGroups, size_t kTokens>
INFERNODE_INLINE void add_scaled_dots(const Weights& weights, const int8_t* const (&x)[kTokens], size_t k,
                                      const Ints (&scale)[kGroups], Ints (&sums)[kGroups][kTokens]) {
  Ints dots[kGroups][kTokens] = {};
  add_dots<kChain, kRuns>(weights, x, k, dots);
  for (size_t g = 0; g < kGroups; g++) {
#pragma GCC unroll 16
    for (size_t t = 0; t < kTokens; t++) sums[g][t] += dots[g][t] * scale[g];
  }
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
