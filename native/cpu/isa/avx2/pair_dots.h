// Dot products where the CPU multiplies bytes in pairs (vpmaddubsw): unsigned weights times signed activations, two products
// added with saturation to 16 bits. No sum here ever saturates: activations are within -127..127, and as many pairs are added
// in 16 bits as the largest stored weight allows.
#pragma once

#include "cpu/kernels/panel_bytes.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

// Pairs that fit in 16 bits, where `stored` is the largest stored weight: 2 * chain * stored * 127 <= 32767. Full bytes are
// signed here: |-128| * 127 * 2 = 32512. What follows depends on a type through its chain alone.
constexpr size_t chain_of(int stored) { return stored > 63 ? 1 : stored > 31 ? 2 : stored > 15 ? 4 : 8; }

struct UnsignedBytes : PanelBytes {
  using PanelBytes::PanelBytes;
  INFERNODE_INLINE Ints pairs(Ints activations) const { return multiply_bytes(bytes, activations); }
};
template <size_t kChain>
struct WeightsOfChain {
  using Type = UnsignedBytes;
};
template <>
struct WeightsOfChain<1> {
  using Type = SignedBytes;
};
// Weights as they are multiplied.
template <size_t kChain>
using Prepared = typename WeightsOfChain<kChain>::Type;

// Lane i: the sum of four products.
template <size_t kChain>
INFERNODE_INLINE Ints dot4(Ints weights, Ints activations) {
  return multiply_pairs(Prepared<kChain>(weights).pairs(activations), all_ints(0x00010001));
}
// sum + the two products of 16-bit halves.
INFERNODE_INLINE Ints add_pairs(Ints sum, Ints a, Ints b) {
  sum += multiply_pairs(a, b);
  forget(sum);  // or all products would be computed first, and kept on the stack
  return sum;
}
// What is added to the sums of stored weights: -offset times the activations' sum.
template <size_t kChain>
INFERNODE_INLINE Ints offset_dots(const int32_t& sum, int32_t offset) {
  if constexpr (kChain == 1) return Ints{};  // full bytes have no offset
  return all_ints(-offset * sum);
}
// What multiply_matrices.h makes words of: two numbers of 16 bits, for products of any bytes are exact only there.
struct Int8Words {
  using Sum = Ints;
  static constexpr size_t kValues = 2;
  INFERNODE_INLINE static Ints add(Ints sum, Ints w, Ints a) { return sum + multiply_pairs(w, a); }
};
// The instructions that bound the tiles: kStep multiply-adds, of which so many must run side by side. For measuring: the sums
// may wrap.
constexpr size_t kPeakSums = 8;
INFERNODE_INLINE Ints peak_step(Ints sum, Ints weights, Ints activations) {
  sum = add_halves(sum, multiply_bytes(weights, activations));
  forget(sum);  // or it would be copied
  return sum;
}
// How a panel keeps sub-block scales for add_scaled_dots: once per 16-bit half.
INFERNODE_INLINE Ints packed_scale(Ints scale) { return (scale & 0xffff) | (scale << 16); }

// sums[g][t] += scale[g] * (the dot products of 4 * kRuns values, from value k of each activation row on); scale is packed.
template <size_t kChain, size_t kRuns, class Weights, size_t kGroups, size_t kTokens>
INFERNODE_INLINE void add_scaled_dots(const Weights& weights, const int8_t* const (&x)[kTokens], size_t k,
                                      const Ints (&scale)[kGroups], Ints (&sums)[kGroups][kTokens]) {
  constexpr size_t chain = kChain < kRuns ? kChain : kRuns;
  Ints pairs[kGroups][kTokens];
#pragma GCC unroll 16
  for (size_t run = 0; run < kRuns; run++) {
#pragma GCC unroll 4
    for (size_t g = 0; g < kGroups; g++) {
      const Prepared<kChain> w = weights(run, g);
#pragma GCC unroll 16
      for (size_t t = 0; t < kTokens; t++) {
        const Ints p = w.pairs(all_of(x[t] + k + run * 4));
        pairs[g][t] = run % chain == 0 ? p : add_halves(pairs[g][t], p);
        if ((run + 1) % chain == 0)
          sums[g][t] = add_pairs(sums[g][t], pairs[g][t], scale[g]);
        else
          forget(pairs[g][t]);
      }
    }
  }
}
template <size_t kChain, size_t kRuns, class Weights, size_t kGroups, size_t kTokens>
INFERNODE_INLINE void add_dots(const Weights& weights, const int8_t* const (&x)[kTokens], size_t k, Ints (&sums)[kGroups][kTokens]) {
  Ints ones[kGroups];
  for (size_t g = 0; g < kGroups; g++) ones[g] = all_ints(0x00010001);
  add_scaled_dots<kChain, kRuns>(weights, x, k, ones, sums);
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
