// Softmax a page at a time, for the rows of a tile at once: maxima, weights, sums, and how partial results merge.
//
// Scores are in units of log2 e, so that weights are powers of two: queries come multiplied with it. Reductions over a page's
// 64 positions have one order on every variant: by halves to 16 partial results, then neighbours, then neighbours of these. Its
// last steps work on all rows together, and leave row i in lane i.
#pragma once

#include "cpu/kernels/activation_functions.h"
#include "cpu/kernels/rows.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

constexpr float kLog2E = 1.44269504f;
// The maximum of no scores: finite, so that two of them have a difference.
constexpr float kNoScore = -3.40282347e38f;
constexpr size_t kPartials = 16;  // of a row, in its reductions
constexpr size_t kRowSlots = 16;  // of a tile: at least its rows, a multiple of the lanes
static_assert(kPartials % F32::lanes == 0 && kRowSlots % F32::lanes == 0);

// 2^x for x <= 0 within 2 ulp, exactly 1 for 0; 2^-125 below -125, NaN for NaN.
INFERNODE_INLINE F32 exp2_of_negative(F32 x) {
  x = max(F32::all(-125.0f), x);
  // x = n + r, |r| <= 0.5. Adding 1.5 · 2^23 rounds to n; 127 more makes the last bits the exponent of 2^n.
  const F32 shift = F32::all(12582912.0f + 127.0f), shifted = x + shift, r = x - (shifted - shift);
  // 2^r = 1 + r p(r), minimax, relative error 2^-22.8.
  F32 p = F32::all(0.0013269407f);
  p = fma(p, r, F32::all(0.009671294f));
  p = fma(p, r, F32::all(0.055507112f));
  p = fma(p, r, F32::all(0.24022247f));
  p = fma(p, r, F32::all(0.693147f));
  p = fma(p, r, F32::all(1.0f));
  return p * from_bits(shift_left<23>(bits(shifted)));
}

struct Add {
  INFERNODE_INLINE static F32 of(F32 a, F32 b) { return a + b; }
};
struct Larger {
  INFERNODE_INLINE static F32 of(F32 a, F32 b) { return max(a, b); }
};

// Combines neighbours until `floats` of each row have become one. Once a single vector is left it is its own neighbour.
template <class Combine, size_t floats, size_t n>
INFERNODE_INLINE void combine_neighbours(F32 (&v)[n]) {
  if constexpr (floats > 1) {
    constexpr size_t left = n > 1 ? n / 2 : 1;
    F32 combined[left];
#pragma GCC unroll 64
    for (size_t i = 0; i < left; i++) {
      F32 even, odd;
      deinterleave(v[n > 1 ? 2 * i : 0], v[n > 1 ? 2 * i + 1 : 0], even, odd);
      combined[i] = Combine::of(even, odd);
    }
    combine_neighbours<Combine, floats / 2>(combined);
#pragma GCC unroll 64
    for (size_t i = 0; i < left; i++) v[i] = combined[i];
  }
}

constexpr size_t power_of_2_from(size_t n) {
  size_t power = 1;
  while (power < n) power *= 2;
  return power;
}
// Vectors that hold one value per row of a tile of R rows.
template <size_t R>
constexpr size_t kVectorsOfRows = power_of_2_from(R) > F32::lanes ? power_of_2_from(R) / F32::lanes : 1;

// One value for each row of partials [R][kPartials]; lanes past R are arbitrary.
template <class Combine, size_t R>
INFERNODE_INLINE void combine_rows(const float (*partials)[kPartials], F32 (&out)[kVectorsOfRows<R>]) {
  constexpr size_t per_row = kPartials / F32::lanes, n = power_of_2_from(R) * per_row;
  F32 v[n];
#pragma GCC unroll 64
  for (size_t i = 0; i < n; i++) v[i] = i / per_row < R ? load(partials[i / per_row] + i % per_row * F32::lanes) : F32::zero();
  combine_neighbours<Combine, kPartials>(v);
#pragma GCC unroll 16
  for (size_t i = 0; i < kVectorsOfRows<R>; i++) out[i] = v[i];
}

// A page's vectors to kPartials, by halves.
constexpr size_t kPageVectors = kPagePositions / F32::lanes;
template <class Combine>
INFERNODE_INLINE void store_partials(F32 (&v)[kPageVectors], float (&partials)[kPartials]) {
  constexpr size_t left = kPartials / F32::lanes;
#pragma GCC unroll 8
  for (size_t half = kPageVectors / 2; half >= left; half /= 2)
#pragma GCC unroll 32
    for (size_t i = 0; i < half; i++) v[i] = Combine::of(v[i], v[i + half]);
#pragma GCC unroll 16
  for (size_t i = 0; i < left; i++) store(partials + i * F32::lanes, v[i]);
}

// What a tile's rows have come to, before the division: out = Σ 2^(score - max) · value, sum = Σ 2^(score - max). A row that
// has seen nothing has kNoScore and sums of 0.
struct alignas(64) Softmax {
  float max[kRowSlots], sum[kRowSlots];

  void clear() {
    for (size_t i = 0; i < kRowSlots; i += F32::lanes) {
      store(max + i, F32::all(kNoScore));
      store(sum + i, F32::zero());
    }
  }
};

// Positions [begin, end) of a page that a row sees; none if begin == end.
struct Visible {
  size_t begin, end;
  // The lanes of positions j, j + 1, … that are seen.
  INFERNODE_INLINE Mask lanes_from(size_t j) const {
    return first_lanes(end > j ? end - j : 0) & !first_lanes(begin > j ? begin - j : 0);
  }
};

// Turns a page's scores into weights 2^(score - max), in place, where max is the row's maximum up to and with this page; adds
// them to its sum. What was summed up before is to be multiplied with old[row]. visible: nullptr if all rows see all positions;
// else weights that a row does not see become 0, whatever its score was.
template <size_t R, bool partly>
[[gnu::noinline]] void weigh_page(float (*scores)[kPagePositions], const Visible* visible, Softmax& rows,
                                  float (&old)[kRowSlots]) {
  constexpr size_t lanes = F32::lanes;
  alignas(64) float partials[R][kPartials];
#pragma GCC unroll 1
  for (size_t r = 0; r < R; r++) {
    F32 v[kPageVectors];
#pragma GCC unroll 16
    for (size_t i = 0; i < kPageVectors; i++) {
      v[i] = load(scores[r] + i * lanes);
      if constexpr (partly) {
        v[i] = select(visible[r].lanes_from(i * lanes), v[i], F32::all(-__builtin_inff()));
        store(scores[r] + i * lanes, v[i]);
      }
    }
    store_partials<Larger>(v, partials[r]);
  }
  F32 maxima[kVectorsOfRows<R>], factors[kVectorsOfRows<R>];
  combine_rows<Larger, R>(partials, maxima);
#pragma GCC unroll 16
  for (size_t i = 0; i < kVectorsOfRows<R>; i++) {
    const F32 before = load(rows.max + i * lanes), now = max(maxima[i], before);  // a NaN is lost here: weights bring it back
    factors[i] = exp2_of_negative(before - now);
    store(rows.max + i * lanes, now);
    store(old + i * lanes, factors[i]);
  }
#pragma GCC unroll 1
  for (size_t r = 0; r < R; r++) {
    const F32 maximum = F32::all(rows.max[r]);
    F32 v[kPageVectors];
#pragma GCC unroll 16
    for (size_t i = 0; i < kPageVectors; i++) {
      v[i] = exp2_of_negative(load(scores[r] + i * lanes) - maximum);
      if constexpr (partly) v[i] = select(visible[r].lanes_from(i * lanes), v[i], F32::zero());
      store(scores[r] + i * lanes, v[i]);
    }
    store_partials<Add>(v, partials[r]);
  }
  F32 sums[kVectorsOfRows<R>];
  combine_rows<Add, R>(partials, sums);
#pragma GCC unroll 16
  for (size_t i = 0; i < kVectorsOfRows<R>; i++)
    store(rows.sum + i * lanes, fma(load(rows.sum + i * lanes), factors[i], sums[i]));
}

// ---- merging

struct Factors {
  F32 old, added;  // what the two results are multiplied with
};

// Adds a part to a total, for as many rows as there are lanes.
INFERNODE_INLINE Factors merge_softmax(F32& max_of_total, F32& sum_of_total, F32 max_of_part, F32 sum_of_part) {
  const F32 both = max(max_of_part, max_of_total);
  const Factors factors = {exp2_of_negative(max_of_total - both), exp2_of_negative(max_of_part - both)};
  max_of_total = both;
  sum_of_total = fma(sum_of_total, factors.old, sum_of_part * factors.added);
  return factors;
}

// Values of one row, n of them; both have room for whole vectors.
INFERNODE_INLINE void merge_values(float* total, const float* part, float old, float added, size_t n) {
  for (size_t e = 0; e < n; e += F32::lanes)
    store(total + e, fma(load(total + e), F32::all(old), load(part + e) * F32::all(added)));
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
