// Dot products of stored weights (unsigned bytes) with int8 activations, four per lane in one vpdpbusd.
#pragma once

#include "cpu/isa/avx512/lanes.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

// Signed bytes are stored with this added, for vpdpbusd reads the weights as unsigned.
constexpr int kByteOffset = 128;
// Tokens per register tile, beside kPanelGroups * kLanes rows: 24 of 32 registers are sums.
constexpr size_t kBlockTokens = 6, kSuperTokens = 6, kFloatTokens = 12;

// Lane i: the sum of four products.
template <class Type>
INFERNODE_INLINE Ints dot4(Ints weights, Ints activations) {
  return Ints(_mm512_dpbusd_epi32(_mm512_setzero_si512(), __m512i(weights), __m512i(activations)));
}
// sum + the two products of 16-bit halves.
INFERNODE_INLINE Ints add_pairs(Ints sum, Ints a, Ints b) {
  return Ints(_mm512_dpwssd_epi32(__m512i(sum), __m512i(a), __m512i(b)));
}
// The instructions that bound the tiles: kStep multiply-adds. For measuring.
INFERNODE_INLINE Ints peak_step(Ints sum, Ints weights, Ints activations) {
  return Ints(_mm512_dpbusd_epi32(__m512i(sum), __m512i(weights), __m512i(activations)));
}
// How a panel keeps sub-block scales for add_scaled_dots.
INFERNODE_INLINE Ints packed_scale(Ints scale) { return scale; }

// sums[g][t] += the dot products of 4 * kRuns values, from value k of each activation row on.
template <class Type, size_t kRuns, size_t kTokens>
INFERNODE_INLINE void add_dots(const std::byte* panel, const int8_t* const (&x)[kTokens], size_t k,
                               Ints (&sums)[kPanelGroups][kTokens]) {
  // Few tokens make few chains of dependent additions: two for each sum then.
  constexpr size_t chains = kTokens <= 3 ? 2 : 1;
  Ints second[kPanelGroups][kTokens] = {};
#pragma GCC unroll 8
  for (size_t run = 0; run < kRuns; run++) {
    Ints(&into)[kPanelGroups][kTokens] = run % chains == 0 ? sums : second;
    __m512i w[kPanelGroups];
    for (size_t g = 0; g < kPanelGroups; g++) w[g] = __m512i(load_ints(panel + (run * kPanelGroups + g) * 64));
#pragma GCC unroll 16
    for (size_t t = 0; t < kTokens; t++) {
      const __m512i a = __m512i(all_of(x[t] + k + run * 4));
      for (size_t g = 0; g < kPanelGroups; g++) into[g][t] = Ints(_mm512_dpbusd_epi32(__m512i(into[g][t]), w[g], a));
    }
  }
  if constexpr (chains == 2)
    for (size_t g = 0; g < kPanelGroups; g++)
      for (size_t t = 0; t < kTokens; t++) sums[g][t] += second[g][t];
}
// sums[g][t] += scale[g] * (those dot products).
template <class Type, size_t kRuns, size_t kTokens>
INFERNODE_INLINE void add_scaled_dots(const std::byte* panel, const int8_t* const (&x)[kTokens], size_t k,
                                      const Ints (&scale)[kPanelGroups], Ints (&sums)[kPanelGroups][kTokens]) {
  Ints dots[kPanelGroups][kTokens] = {};
  add_dots<Type, kRuns>(panel, x, k, dots);
  for (size_t g = 0; g < kPanelGroups; g++) {
#pragma GCC unroll 16
    for (size_t t = 0; t < kTokens; t++) sums[g][t] += dots[g][t] * scale[g];
  }
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
