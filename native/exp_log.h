// exp and ln for sampling: libm's differ between systems and versions, and with them the tokens that a seed gives.
// For files that are compiled once; kernels have their own in cpu/kernels/math.h.
#pragma once

#include <bit>
#include <cstdint>

namespace infernode {

// e^z for z <= 0, -infinity included, within 2 ulp; 0 below -87, where f32 runs out of normal numbers. exp_of_negative(0) is 1.
// z = n ln 2 + f with |f| <= ln 2 / 2, then e^f by its Taylor series. No branches, so that loops over it become vector code.
inline float exp_of_negative(float z) {
  constexpr float kRound = 0x1.8p23f;  // adding it leaves the integer in the low bits
  const float clamped = z > -87.0f ? z : -87.0f;
  const float shifted = clamped * 0x1.715476p+0f + kRound;  // 1 / ln 2
  const float n = shifted - kRound;
  const float f = (clamped - n * 0x1.62e4p-1f) - n * 0x1.7f7d1cp-20f;  // ln 2 in two parts; the first has 15 bits: n times it is exact
  float p = 1.0f / 5040;
  p = p * f + 1.0f / 720;
  p = p * f + 1.0f / 120;
  p = p * f + 1.0f / 24;
  p = p * f + 1.0f / 6;
  p = p * f + 0.5f;
  p = (p * f) * f + f;
  const float power = std::bit_cast<float>((std::bit_cast<uint32_t>(shifted) << 23) + 0x3f800000u);
  const float result = (p + 1.0f) * power;
  return z < -87.0f ? 0.0f : result;
}

// ln x for a positive, normal, finite x, within 2 ulp.
// x = 2^k m with √½ <= m < √2, then ln m = 2 artanh s of s = (m - 1) / (m + 1), |s| < 0.172, by its series.
inline double natural_log(double x) {
  uint64_t bits = std::bit_cast<uint64_t>(x);
  int64_t k = static_cast<int64_t>(bits >> 52) - 1023;
  bits = (bits & 0xfffffffffffffu) | 0x3ff0000000000000u;
  double m = std::bit_cast<double>(bits);
  if (m >= 0x1.6a09e667f3bcdp+0) {
    m *= 0.5;
    k++;
  }
  const double s = (m - 1) / (m + 1), s2 = s * s;
  double p = 1.0 / 23;
  for (int odd = 21; odd >= 3; odd -= 2) p = p * s2 + 1.0 / odd;
  // With f = m - 1 and 2 s = f - s f: the exact f leads, so that the rounding of s weighs little.
  const double f = m - 1;
  const double ln_m = f - s * (f - 2 * s2 * p);
  const auto n = static_cast<double>(k);
  return n * 0x1.62e42fefa3800p-1 + (n * 0x1.ef35793c76730p-45 + ln_m);  // ln 2 in two parts; the first has 42 bits
}

}  // namespace infernode
