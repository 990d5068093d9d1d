// Reductions over a row of logits, for the sampler and for scores.
#include "cpu/kernels/kernels_of_isa.h"
#include "cpu/kernels/math.h"
#include "simd.h"

namespace infernode::cpu::INFERNODE_ISA {

// The largest value and the lowest index that has it; NaN never wins. {-infinity, 0} if there is nothing else.
RowMax row_max(const float* x, size_t n) {
  constexpr size_t lanes = F32::lanes;
  const F32 lowest = F32::all(-__builtin_inff());
  F32 value = lowest;
  I32 index = I32::iota(), here = index;
  for (size_t i = 0; i < n; i += lanes) {
    const F32 candidate = select(first_lanes(n - i), load(x + i, n - i), lowest);
    const Mask better = less(value, candidate);  // strictly: an equal value later does not replace an earlier one
    value = select(better, candidate, value);
    index = select(better, here, index);
    here = here + I32::all(static_cast<int32_t>(lanes));
  }
  float values[lanes];
  int32_t indices[lanes];
  store(values, value);
  store(indices, index);
  RowMax best = {values[0], static_cast<uint32_t>(indices[0])};
  for (size_t lane = 1; lane < lanes; lane++) {
    const uint32_t i = static_cast<uint32_t>(indices[lane]);
    if (values[lane] > best.value || (values[lane] == best.value && i < best.index)) best = {values[lane], i};
  }
  return best;
}

double exp_sum(const float* x, size_t n, float max) {
  constexpr size_t vectors = 16 / F32::lanes;  // 16 partial sums, element i in partial sum i mod 16, folded by halves
  F64 partial[vectors];
  for (F64& p : partial) p = F64::zero();
  const F32 shift = F32::all(max);
  for (size_t i = 0; i < n; i += 16)
    for (size_t v = 0; v < vectors; v++) {
      const size_t at = i + v * F32::lanes, rest = at < n ? n - at : 0;
      const F32 term = exp(load(x + at, rest) - shift);
      partial[v] = partial[v] + widen(select(first_lanes(rest), term, F32::zero()));
    }
  for (size_t half = vectors / 2; half > 0; half /= 2)
    for (size_t v = 0; v < half; v++) partial[v] = partial[v] + partial[v + half];
  return sum(partial[0]);
}

}  // namespace infernode::cpu::INFERNODE_ISA
