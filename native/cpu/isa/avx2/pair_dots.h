// Dot products where the CPU multiplies bytes in pairs (vpmaddubsw): unsigned weights times signed activations, two products
// added with saturation to 16 bits. No sum here ever saturates: activations are within -127..127, and as many pairs are added
// in 16 bits as the largest stored weight allows.
#pragma once

namespace infernode::cpu::INFERNODE_ISA {
namespace {

// Pairs that fit in 16 bits, where `stored` is the largest stored weight: 2 * chain * stored * 127 <= 32767. Full bytes are
// signed here: |-128| * 127 * 2 = 32512. What follows depends on a type through its chain alone.
constexpr size_t chain_of(int stored) { return stored > 63 ? 1 : stored > 31 ? 2 : stored > 15 ? 4 : 8; }

template <size_t kChain>
INFERNODE_INLINE auto prepared(Ints weights) {
  if constexpr (kChain == 1)
    return SignedBytes(weights);
  else
    return UnsignedBytes{weights};
}

// Lane i: the sum of four products.
template <size_t kChain>
INFERNODE_INLINE Ints dot4(Ints weights, Ints activations) {
  return multiply_pairs(prepared<kChain>(weights).pairs(activations), all_ints(0x00010001));
}
// sum + the two products of 16-bit halves.
INFERNODE_INLINE Ints add_pairs(Ints sum, Ints a, Ints b) { return sum + multiply_pairs(a, b); }
// What multiply_matrices.h makes words of: two numbers of 16 bits, for products of any bytes are exact only there.
struct Int8Words {
  using Sum = Ints;
  static constexpr size_t kValues = 2;
  INFERNODE_INLINE static Ints add(Ints sum, Ints w, Ints a) { return add_pairs(sum, w, a); }
};
// The instructions that bound the tiles: kStep multiply-adds, of which so many must run side by side. For measuring: the sums
// may wrap.
constexpr size_t kPeakSums = 8;
INFERNODE_INLINE Ints peak_step(Ints sum, Ints weights, Ints activations) {
  return add_halves(sum, UnsignedBytes{weights}.pairs(activations));
}
// How a panel keeps sub-block scales for add_scaled_dots: once per 16-bit half.
INFERNODE_INLINE Ints packed_scale(Ints scale) { return (scale & 0xffff) | (scale << 16); }

// sums[g][t] += scale[g] * (the dot products of 4 * kRuns values, from value k of each activation row on); scale is packed.
template <size_t kChain, size_t kRuns, class Weights, size_t kGroups, size_t kTokens>
INFERNODE_INLINE void add_scaled_dots(const Weights& weights, const int8_t* const (&x)[kTokens], size_t k,
                                      const Ints (&scale)[kGroups], Ints (&sums)[kGroups][kTokens]) {
  constexpr size_t chain = kChain < kRuns ? kChain : kRuns;
#pragma GCC unroll 8
  for (size_t first = 0; first < kRuns; first += chain) {
    Ints pairs[kGroups][kTokens];
#pragma GCC unroll 8
    for (size_t run = first; run < first + chain; run++) {
#pragma GCC unroll 4
      for (size_t g = 0; g < kGroups; g++) {
        const auto w = prepared<kChain>(weights(run, g));
#pragma GCC unroll 16
        for (size_t t = 0; t < kTokens; t++) {
          const Ints p = w.pairs(all_of(x[t] + k + run * 4));
          pairs[g][t] = run == first ? p : add_halves(pairs[g][t], p);
          forget(pairs[g][t]);  // or all products would be computed first, and kept on the stack
        }
      }
    }
    for (size_t g = 0; g < kGroups; g++) {
#pragma GCC unroll 16
      for (size_t t = 0; t < kTokens; t++) sums[g][t] += multiply_pairs(pairs[g][t], scale[g]);
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
