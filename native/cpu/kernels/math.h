// Elementary functions over vectors. Our own, because libm chooses its version by CPU and release: these give the same bits
// everywhere. Errors are the largest found against a higher precision (test/native/kernels_test.cc), in units of the last
// place.
#pragma once

#include "simd.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

// Sums run over this many partial sums, element i in partial sum i mod 64, folded by halves: the same tree for every number of
// lanes that divides it.
constexpr size_t kPartialSums = 64;
constexpr size_t kSumVectors = kPartialSums / F32::lanes;

INFERNODE_INLINE float fold_sum(F32 (&partial)[kSumVectors]) {
  for (size_t half = kSumVectors / 2; half > 0; half /= 2)
    for (size_t i = 0; i < half; i++) partial[i] = partial[i] + partial[i + half];
  return sum(partial[0]);
}

// e^x within 1 ulp, subnormal results too; +0 below -104, infinity above 88.73, NaN for NaN.
INFERNODE_INLINE F32 exp(F32 x) {
  x = max(F32::all(-104.0f), min(F32::all(89.0f), x));
  // x = n ln 2 + r, |r| <= ln 2 / 2. The first part of ln 2 has 9 bits, so that its product with n is exact.
  const F32 n = round(x * F32::all(1.44269504f));
  const F32 r = fma(n, F32::all(2.12194440e-4f), fma(n, F32::all(-0.693359375f), x));
  // e^r = 1 + r + r² p(r), minimax, relative error 2^-28.
  F32 p = F32::all(0.00138144669556f);
  p = fma(p, r, F32::all(0.00836878040955f));
  p = fma(p, r, F32::all(0.041668394213f));
  p = fma(p, r, F32::all(0.166665201078f));
  p = fma(p, r, F32::all(0.499999934125f));
  return times_power_of_2(fma(p * r, r, r) + F32::all(1.0f), n);
}

// tanh x within 2 ulp; ±1 from |x| = 9.1 on, NaN for NaN.
INFERNODE_INLINE F32 tanh(F32 x) {
  const F32 t = abs(x), square = x * x;
  // Below 0.625: t + t³ p(t²), minimax, relative error 2^-27. Above, nothing cancels in 1 - 2 / (e^2t + 1).
  F32 p = F32::all(-0.00570539407f);
  p = fma(p, square, F32::all(0.02063944153f));
  p = fma(p, square, F32::all(-0.05373981645f));
  p = fma(p, square, F32::all(0.13331443232f));
  p = fma(p, square, F32::all(-0.33333281966f));
  const F32 near = fma(p * square, t, t);
  const F32 one = F32::all(1.0f);
  const F32 far = one - F32::all(2.0f) / (exp(t + t) + one);
  return copy_sign(select(less(t, F32::all(0.625f)), near, far), x);
}

// Φ(-t) for t >= 0, the normal distribution's tail, within 5 ulp where that is a normal number; 0 from 14.5 on, NaN for NaN.
INFERNODE_INLINE F32 normal_tail(F32 t) {
  // e^(-t²/2) · r(1 / (1 + 0.3 t)), r minimax with a relative error of 2^-28. What rounding t² loses goes in at first order.
  const F32 one = F32::all(1.0f), u = one / fma(F32::all(0.3f), t, one);
  F32 r = F32::all(-0.019843404f);
  r = fma(r, u, F32::all(0.10784396062f));
  r = fma(r, u, F32::all(-0.21636318011f));
  r = fma(r, u, F32::all(0.17416012565f));
  r = fma(r, u, F32::all(-0.06273043296f));
  r = fma(r, u, F32::all(0.08565732774f));
  r = fma(r, u, F32::all(0.08282187068f));
  r = fma(r, u, F32::all(0.10899784693f));
  r = fma(r, u, F32::all(0.11979020482f));
  r = fma(r, u, F32::all(0.1196647236f));
  r = fma(r, u, F32::all(9.556158955697e-7f));
  const F32 within = min(F32::all(15.0f), t), square = within * within, lost = fma(within, within, F32::zero() - square);
  const F32 power = exp(square * F32::all(-0.5f));
  return r * fma(power, lost * F32::all(-0.5f), power);
}

// sin and cos of x, |x| <= 6,000,000 (a position times a frequency): absolute error below 1e-15, far
// below half an ulp of f32 but for results next to 0.
INFERNODE_INLINE void sin_cos(F64 x, F64& sine, F64& cosine) {
  // x = n π/2 + r, |r| <= π/4, |n| < 2^22. π/2 in three parts; the first two have 31 bits, so that their products with n are
  // exact.
  const F64 n = round(x * F64::all(0.6366197723675814));
  F64 r = x - n * F64::all(0x1.921fb544p+0);
  r = r - n * F64::all(0x1.0b4611a4p-34);
  r = r - n * F64::all(0x1.13198a2e03707p-65);
  // Taylor: the first terms left out, r^17/17! and r^18/18!, are below 2^-54.
  const F64 square = r * r;
  F64 s = F64::all(-1.0 / 1307674368000.0);
  s = s * square + F64::all(1.0 / 6227020800.0);
  s = s * square + F64::all(-1.0 / 39916800.0);
  s = s * square + F64::all(1.0 / 362880.0);
  s = s * square + F64::all(-1.0 / 5040.0);
  s = s * square + F64::all(1.0 / 120.0);
  s = s * square + F64::all(-1.0 / 6.0);
  s = s * square * r + r;
  F64 c = F64::all(1.0 / 20922789888000.0);
  c = c * square + F64::all(-1.0 / 87178291200.0);
  c = c * square + F64::all(1.0 / 479001600.0);
  c = c * square + F64::all(-1.0 / 3628800.0);
  c = c * square + F64::all(1.0 / 40320.0);
  c = c * square + F64::all(-1.0 / 720.0);
  c = c * square + F64::all(1.0 / 24.0);
  c = c * square + F64::all(-0.5);
  c = c * square + F64::all(1.0);
  // Quarter turns swap the two (odd n) and change signs (sine: n mod 4 in {2, 3}, cosine: in {1, 2}).
  const I32 quarter = to_i32(n), one = I32::all(1), two = I32::all(2);
  const Mask odd = equal(quarter & one, one);
  const F64 swapped_s = select(odd, c, s), swapped_c = select(odd, s, c);
  sine = select(equal(quarter & two, two), F64::zero() - swapped_s, swapped_s);
  cosine = select(equal((quarter + one) & two, two), F64::zero() - swapped_c, swapped_c);
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
