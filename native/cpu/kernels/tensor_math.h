// Elementary functions that only Tensor needs, over vectors. As in math.h: our own, with the same bits everywhere; errors are
// the largest found against a higher precision (test/tensor/elementwise.test.ts).
#pragma once

#include "cpu/kernels/math.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

INFERNODE_INLINE Mask operator|(Mask a, Mask b) { return !((!a) & (!b)); }
INFERNODE_INLINE Mask is_nan(F32 x) { return less(I32::all(0x7f800000), bits(abs(x))); }
INFERNODE_INLINE F32 negated(F32 x) { return from_bits(bits(x) + I32::all(INT32_MIN)); }  // wraps around in the sign bit alone

// x = m · 2^k with √½ <= m < √2; x is positive and finite, subnormal too.
INFERNODE_INLINE F32 split(F32 x, F32& k) {
  const Mask subnormal = less(x, F32::all(0x1p-126f));
  x = select(subnormal, x * F32::all(0x1p23f), x);
  // Subtracting √½'s pattern moves the border between exponents to √½.
  const I32 pattern = bits(x) - I32::all(0x3f3504f3);
  k = to_f32(shift_right<23>(pattern)) - select(subnormal, F32::all(23.0f), F32::zero());
  return from_bits((pattern & I32::all(0x7fffff)) + I32::all(0x3f3504f3));
}

// What a function of |x|'s logarithm makes of 0, infinity, negative numbers and NaN.
INFERNODE_INLINE F32 log_edges(F32 x, F32 result) {
  const F32 infinity = F32::all(__builtin_inff());
  result = select(less(x, infinity), result, infinity);  // +infinity, and NaN for now
  result = select(less(F32::zero(), x), result, F32::all(__builtin_nanf("")));
  result = select(equal(bits(x) & I32::all(0x7fffffff), I32::zero()), F32::zero() - infinity, result);
  return select(is_nan(x), x, result);
}

// ln x within 1 ulp; -infinity at 0, NaN below.
INFERNODE_INLINE F32 log(F32 x) {
  F32 k;
  const F32 f = split(x, k) - F32::all(1.0f);  // exact
  // ln(1 + f) = 2 artanh s of s = f / (2 + f), |s| < 0.172: f leads, which is exact, so that the rounding of s weighs little.
  const F32 s = f / (F32::all(2.0f) + f), s2 = s * s;
  F32 p = F32::all(1.0f / 11);
  p = fma(p, s2, F32::all(1.0f / 9));
  p = fma(p, s2, F32::all(1.0f / 7));
  p = fma(p, s2, F32::all(1.0f / 5));
  p = fma(p, s2, F32::all(1.0f / 3));
  const F32 tail = fma(k, F32::all(0x1.7f7d1cp-20f), F32::zero() - s * (f - F32::all(2.0f) * s2 * p));
  return log_edges(x,
                   fma(k, F32::all(0x1.62e4p-1f), f + tail));  // ln 2 in two parts; the first has 15 bits: k times it is exact
}

// x^y within 1 ulp, with the edges of C's pow: 1 if x is 1 or y is 0, NaN for negative x and fractional y.
INFERNODE_INLINE F32 power(F32 x, F32 y) {
  // log2 |x| in double, from the mantissa that f32 holds exactly.
  F32 k;
  const F64 m = widen(split(abs(x), k)), one = F64::all(1.0);
  const F64 s = (m - one) / (m + one), s2 = s * s;
  F64 p = F64::all(1.0 / 17);
  p = p * s2 + F64::all(1.0 / 15);
  p = p * s2 + F64::all(1.0 / 13);
  p = p * s2 + F64::all(1.0 / 11);
  p = p * s2 + F64::all(1.0 / 9);
  p = p * s2 + F64::all(1.0 / 7);
  p = p * s2 + F64::all(1.0 / 5);
  p = p * s2 + F64::all(1.0 / 3);
  const F64 log2 = (s + s * s2 * p) * F64::all(2.8853900817779268) + widen(k);
  // 2^t, t within what f32 can hold: n integral, e^(r ln 2) by its series.
  const F32 infinity = F32::all(__builtin_inff()), zero = F32::zero(), unit = F32::all(1.0f);
  const F64 exponent = log2 * widen(y);
  const F32 rough = narrow(exponent), limited = max(F32::all(-200.0f), min(F32::all(200.0f), rough));
  const F32 n = round(limited);
  const F64 inside = (exponent - widen(n)) * F64::all(0.6931471805599453);
  F64 e = F64::all(1.0 / 362880);
  e = e * inside + F64::all(1.0 / 40320);
  e = e * inside + F64::all(1.0 / 5040);
  e = e * inside + F64::all(1.0 / 720);
  e = e * inside + F64::all(1.0 / 120);
  e = e * inside + F64::all(1.0 / 24);
  e = e * inside + F64::all(1.0 / 6);
  e = e * inside + F64::all(0.5);
  e = e * inside + one;
  e = e * inside + one;
  F32 result = times_power_of_2(narrow(e), n);
  result = select(less(F32::all(150.0f), rough), infinity, result);
  result = select(less(rough, F32::all(-160.0f)), zero, result);
  // 0 and infinity have no mantissa: what they become depends on the sign of y alone.
  const Mask x_zero = equal(bits(abs(x)), I32::zero()), x_infinite = equal(bits(abs(x)), I32::all(0x7f800000));
  const Mask y_negative = less(y, zero), y_infinite = equal(bits(abs(y)), I32::all(0x7f800000));
  result = select(x_zero, select(y_negative, infinity, zero), result);
  result = select(x_infinite, select(y_negative, zero, infinity), result);
  const Mask grows = less(unit, abs(x)), one_in_size = equal(bits(abs(x)), I32::all(0x3f800000));
  const Mask shrinks = !grows, to_infinity = (grows & (!y_negative)) | (shrinks & y_negative);
  result = select(y_infinite, select(one_in_size, unit, select(to_infinity, infinity, zero)), result);
  // From 2^23 on every f32 is whole, from 2^24 on even. round() is for less than 2^22, so halves are looked at.
  const F32 size = abs(y), capped = min(F32::all(0x1p24f), size);
  const F64 wide = widen(capped), half = wide * F64::all(0.5);
  const Mask whole = equal(bits(narrow(round(wide))), bits(capped)),
             even = equal(bits(narrow(round(half))), bits(narrow(half)));
  const Mask x_negative = less(bits(x), I32::zero());
  const F32 signed_result = select(x_negative & whole & (!even), zero - result, result);
  const Mask undefined = x_negative & (!whole) & (!x_zero) & (!x_infinite);
  result = select(undefined, F32::all(__builtin_nanf("")), signed_result);
  result = select(is_nan(x) | is_nan(y), x + y, result);
  return select(equal(bits(x), I32::all(0x3f800000)) | equal(bits(size), I32::zero()), unit, result);
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
