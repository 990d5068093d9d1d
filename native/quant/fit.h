// Searches for the scales of a block: what the encoders of the block formats share. Rounding to a given scale is exact and simple;
// the art is in the scale. Each candidate places the largest value a little differently among the levels, solves for the scale that
// fits its rounding best (weighted least squares), and the best of those wins.
#pragma once

#include "quant/half.h"

#pragma GCC diagnostic ignored "-Wpsabi"  // about vectors passed by value: all that takes any is inlined

namespace infernode::quant {

// Not seen by other files: they may be compiled for another ISA.
namespace {

// Eight sums side by side, in a fixed order, that every compiler turns into vector instructions.
using Lanes = float __attribute__((vector_size(32)));

inline Lanes eight(const float* x) {
  Lanes v;
  __builtin_memcpy(&v, x, sizeof v);
  return v;
}
inline void put(float* to, Lanes v) { __builtin_memcpy(to, &v, sizeof v); }
inline float sum(Lanes v) { return ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7])); }
inline Lanes clamp(Lanes v, float low, float high) {
  const Lanes bottom = Lanes{} + low, top = Lanes{} + high;
  v = v < bottom ? bottom : v;
  return v > top ? top : v;
}
// To the nearest whole number, halves to even; |v| < 2^22.
template <class T>
inline T rounded(T v) {
  const T large = T{} + 0x1.8p23f;
  return (v + large) - large;
}
inline float magnitude(float x) { return x < 0 ? -x : x; }

// Whole numbers from kLow to kHigh, as most formats store them.
template <int kLow, int kHigh>
struct WholeLevels {
  static constexpr float kLowest = kLow, kHighest = kHigh;
  static constexpr float kNudge = 0.2f;  // between candidates for the place of the largest value
  static Lanes nearest(Lanes v) { return rounded(clamp(v, kLow, kHigh)); }
};

// The value of largest magnitude, the first of equals.
inline float extreme(const float* x, size_t n) {
  float result = 0;
  for (size_t i = 0; i < n; i++)
    if (magnitude(x[i]) > magnitude(result)) result = x[i];
  return result;
}

// A power of two that brings the largest magnitude into [1, 2), so that squares neither overflow nor vanish; 1 for a block of zeros.
inline float normalizer(float largest) {
  if (largest == 0) return 1;
  const uint32_t exponent = __builtin_bit_cast(uint32_t, largest) >> 23 & 0xff;
  return __builtin_bit_cast(float, (exponent == 0 ? 253u : exponent >= 253 ? 1u : 254 - exponent) << 23);
}

// Values of a block as the searches want them: x = value / unit, and how much each counts.
template <size_t kN>
struct Normalized {
  alignas(32) float x[kN];
  float inverse_unit;  // powers of two, so nothing is rounded but what vanishes beside the largest
  float unit;

  explicit Normalized(const float* values) {
    inverse_unit = normalizer(magnitude(extreme(values, kN)));
    unit = 1 / inverse_unit;
    for (size_t i = 0; i < kN; i++) x[i] = values[i] * inverse_unit;
  }
  // A scale in units of x as it is stored, and what the stored one means here.
  Half stored(float d) const { return to_half(d * unit); }
  float meaning(Half d) const { return to_float(d) * inverse_unit; }
};

// All values count alike.
template <size_t kN>
struct Alike {
  alignas(32) float w[kN];
  Alike() {
    for (float& v : w) v = 1;
  }
};

// w[i] = |x[i]| + root mean square of x: errors of large weights count more, as they meet large activations no less often than others
// and dominate the sums; none is without weight.
inline void weigh(const float* x, size_t n, float* w) {
  Lanes squares{};
  for (size_t i = 0; i < n; i += 8) squares += eight(x + i) * eight(x + i);
  const float mean = __builtin_sqrtf(sum(squares) / static_cast<float>(n));
  for (size_t i = 0; i < n; i++) w[i] = magnitude(x[i]) + mean;
}

// Σ w (d · level - x)² with each x at the level nearest to it.
template <class Levels>
inline float squared_error(const float* x, const float* w, size_t n, float d) {
  const float inverse = inverse_or_zero(d);
  Lanes errors{};
  for (size_t i = 0; i < n; i += 8) {
    const Lanes e = Levels::nearest(eight(x + i) * inverse) * d - eight(x + i);
    errors += eight(w + i) * e * e;
  }
  return sum(errors);
}

// The scale d (of either sign) for which Σ w (d · level - x)² is smallest among the candidates; 0 for zeros. n: a multiple of 8.
template <class Levels>
inline float fit_scale(const float* x, const float* w, size_t n) {
  const float inverse_largest = inverse_or_zero(extreme(x, n));
  float best = 0, best_gain = 0;
  for (int side = 0; side < 2; side++) {
    for (int nudge = -4; nudge <= 4; nudge++) {
      const float place = (side == 0 ? Levels::kLowest : Levels::kHighest) + static_cast<float>(nudge) * Levels::kNudge;
      const float inverse = place * inverse_largest;
      Lanes products{}, squares{};
      for (size_t i = 0; i < n; i += 8) {
        const Lanes v = eight(x + i), level = Levels::nearest(v * inverse), weighted = eight(w + i) * level;
        products += weighted * v;
        squares += weighted * level;
      }
      // With the best d = products / squares the squared error is Σ w x² - products² / squares.
      const float p = sum(products), s = sum(squares);
      if (s > 0 && p * p > best_gain * s) {
        best_gain = p * p / s;
        best = p / s;
      }
    }
  }
  return best;
}

// q[i] = the nearest level of x[i] / d.
template <class Levels>
inline void round_to_levels(const float* x, size_t n, float d, int8_t* q) {
  const float inverse = inverse_or_zero(d);
  for (size_t i = 0; i < n; i += 8) {
    const Lanes level = Levels::nearest(eight(x + i) * inverse);
    for (size_t lane = 0; lane < 8; lane++) q[i + lane] = static_cast<int8_t>(level[lane]);
  }
}

// value = d * q + m, q from 0 to a top level.
struct Line {
  float d, m;
};

template <int kTop>
inline float squared_error(const float* x, const float* w, size_t n, Line line) {
  const float inverse = inverse_or_zero(line.d);
  Lanes errors{};
  for (size_t i = 0; i < n; i += 8) {
    const Lanes q = rounded(clamp((eight(x + i) - line.m) * inverse, 0, kTop)), e = q * line.d + line.m - eight(x + i);
    errors += eight(w + i) * e * e;
  }
  return sum(errors);
}

// The line of least weighted squared error among the candidates, d >= 0. n: a multiple of 8, at most 32. kBelowZero: the format can
// only subtract its minimum, so m <= 0.
template <int kTop, bool kBelowZero>
inline Line fit_line(const float* x, const float* w, size_t n) {
  float low = x[0], high = x[0];
  for (size_t i = 1; i < n; i++) {
    low = x[i] < low ? x[i] : low;
    high = x[i] > high ? x[i] : high;
  }
  if (kBelowZero && low > 0) low = 0;
  const float inverse_range = inverse_or_zero(high - low);
  if (inverse_range == 0) return {0, low};  // all equal (or, below zero, none to speak of)
  Lanes weights{}, weighted{};
  for (size_t i = 0; i < n; i += 8) {
    weights += eight(w + i);
    weighted += eight(w + i) * eight(x + i);
  }
  const float sum_w = sum(weights), sum_wx = sum(weighted);
  Line best{(high - low) / kTop, low};
  float best_error = squared_error<kTop>(x, w, n, best);
  for (int nudge = -5; nudge <= 5; nudge++) {
    const float inverse = (kTop + 0.2f * static_cast<float>(nudge)) * inverse_range;
    Lanes q_sums{}, qq_sums{}, qx_sums{};
    alignas(32) float levels[32];
    for (size_t i = 0; i < n; i += 8) {
      const Lanes v = eight(x + i), q = rounded(clamp((v - low) * inverse, 0, kTop)), wq = eight(w + i) * q;
      put(levels + i, q);
      q_sums += wq;
      qq_sums += wq * q;
      qx_sums += wq * v;
    }
    const float sum_wq = sum(q_sums), sum_wqq = sum(qq_sums), sum_wqx = sum(qx_sums);
    const float determinant = sum_w * sum_wqq - sum_wq * sum_wq;
    if (!(determinant > 0)) continue;
    Line line{(sum_w * sum_wqx - sum_wx * sum_wq) / determinant, (sum_wqq * sum_wx - sum_wq * sum_wqx) / determinant};
    if (kBelowZero && line.m > 0) line = {sum_wqx / sum_wqq, 0};
    Lanes errors{};
    for (size_t i = 0; i < n; i += 8) {
      const Lanes e = eight(levels + i) * line.d + line.m - eight(x + i);
      errors += eight(w + i) * e * e;
    }
    if (const float error = sum(errors); line.d > 0 && error < best_error) {
      best_error = error;
      best = line;
    }
  }
  return best;
}

// q[i] = the level of a line nearest to x[i].
template <int kTop>
inline void round_to_line(const float* x, size_t n, Line line, uint8_t* q) {
  const float inverse = inverse_or_zero(line.d);
  for (size_t i = 0; i < n; i += 8) {
    const Lanes level = rounded(clamp((eight(x + i) - line.m) * inverse, 0, kTop));
    for (size_t lane = 0; lane < 8; lane++) q[i + lane] = static_cast<uint8_t>(level[lane]);
  }
}

// One f16 scale for a block of 32: the fitted one or the plain one (the largest value at the lowest level), whichever is nearer once
// it is stored.
template <class Levels>
inline Half choose_scale(const Normalized<32>& block) {
  const Alike<32> alike;
  const Half plain = block.stored(extreme(block.x, 32) / Levels::kLowest), fitted = block.stored(fit_scale<Levels>(block.x, alike.w, 32));
  const float plain_error = squared_error<Levels>(block.x, alike.w, 32, block.meaning(plain)),
              fitted_error = squared_error<Levels>(block.x, alike.w, 32, block.meaning(fitted));
  return fitted_error < plain_error ? fitted : plain;
}

// The same for a block of 32 with an f16 minimum.
struct HalfLine {
  Half d, m;
};
template <int kTop>
inline HalfLine choose_line(const Normalized<32>& block) {
  const Alike<32> alike;
  float low = block.x[0], high = block.x[0];
  for (float x : block.x) {
    low = x < low ? x : low;
    high = x > high ? x : high;
  }
  const Line fit = fit_line<kTop, false>(block.x, alike.w, 32);
  const HalfLine plain{block.stored((high - low) / kTop), block.stored(low)}, fitted{block.stored(fit.d), block.stored(fit.m)};
  const auto error = [&](const HalfLine& line) {
    return squared_error<kTop>(block.x, alike.w, 32, Line{block.meaning(line.d), block.meaning(line.m)});
  };
  return error(fitted) < error(plain) ? fitted : plain;
}

// The super-blocks of 256 with integer scales: sub-blocks of kSub values, each fitted on its own; then their scales are rounded to
// the integers that share one f16, trying the neighbours of each, and the values are rounded to what is stored.

// value = d * scale * level. A scale is one of `Scales`, a WholeLevels; the largest becomes its lowest.
template <class Levels, class Scales, size_t kSub>
inline void fit_scales(const float* values, Half& d, int8_t* scales, int8_t* levels) {
  constexpr size_t kSubs = 256 / kSub;
  const Normalized<256> block(values);
  alignas(32) float weights[256];
  float fitted[kSubs];
  for (size_t sub = 0; sub < kSubs; sub++) {
    weigh(block.x + sub * kSub, kSub, weights + sub * kSub);
    fitted[sub] = fit_scale<Levels>(block.x + sub * kSub, weights + sub * kSub, kSub);
  }
  d = block.stored(extreme(fitted, kSubs) / Scales::kLowest);
  const float unit = block.meaning(d), inverse = inverse_or_zero(unit);
  for (size_t sub = 0; sub < kSubs; sub++) {
    const float *x = block.x + sub * kSub, *w = weights + sub * kSub;
    const float middle = Scales::nearest(Lanes{} + fitted[sub] * inverse)[0];
    float best = middle, least = squared_error<Levels>(x, w, kSub, middle * unit);
    for (float scale = middle - 1; scale <= middle + 1; scale += 2) {
      if (scale < Scales::kLowest || scale > Scales::kHighest) continue;
      const float error = squared_error<Levels>(x, w, kSub, scale * unit);
      if (error >= least) continue;
      least = error;
      best = scale;
    }
    scales[sub] = static_cast<int8_t>(best);
    round_to_levels<Levels>(x, kSub, best * unit, levels + sub * kSub);
  }
}

// value = d * scale * q - dmin * min; q from 0 to kTop, scale and min from 0 to kTopScale.
template <int kTop, int kTopScale, size_t kSub>
inline void fit_lines(const float* values, Half& d, Half& dmin, uint8_t* scales, uint8_t* mins, uint8_t* q) {
  constexpr size_t kSubs = 256 / kSub;
  using Scales = WholeLevels<0, kTopScale>;
  const Normalized<256> block(values);
  alignas(32) float weights[256];
  Line fitted[kSubs];
  float largest_d = 0, lowest_m = 0;
  for (size_t sub = 0; sub < kSubs; sub++) {
    weigh(block.x + sub * kSub, kSub, weights + sub * kSub);
    fitted[sub] = fit_line<kTop, true>(block.x + sub * kSub, weights + sub * kSub, kSub);
    largest_d = fitted[sub].d > largest_d ? fitted[sub].d : largest_d;
    lowest_m = fitted[sub].m < lowest_m ? fitted[sub].m : lowest_m;
  }
  d = block.stored(largest_d / kTopScale);
  dmin = block.stored(-lowest_m / kTopScale);
  const float unit_d = block.meaning(d), unit_m = block.meaning(dmin);
  const float inverse_d = inverse_or_zero(unit_d), inverse_m = inverse_or_zero(unit_m);
  for (size_t sub = 0; sub < kSubs; sub++) {
    const float *x = block.x + sub * kSub, *w = weights + sub * kSub;
    const auto line_of = [&](float scale, float min) { return Line{scale * unit_d, -(min * unit_m)}; };
    const float middle_scale = Scales::nearest(Lanes{} + fitted[sub].d * inverse_d)[0],
                middle_min = Scales::nearest(Lanes{} - fitted[sub].m * inverse_m)[0];
    float scale = middle_scale, min = middle_min, least = squared_error<kTop>(x, w, kSub, line_of(scale, min));
    for (float s = middle_scale - 1; s <= middle_scale + 1; s++) {
      for (float m = middle_min - 1; m <= middle_min + 1; m++) {
        if (s < 0 || s > kTopScale || m < 0 || m > kTopScale) continue;
        const float error = squared_error<kTop>(x, w, kSub, line_of(s, m));
        if (error >= least) continue;
        least = error;
        scale = s;
        min = m;
      }
    }
    scales[sub] = static_cast<uint8_t>(scale);
    mins[sub] = static_cast<uint8_t>(min);
    round_to_line<kTop>(x, kSub, line_of(scale, min), q + sub * kSub);
  }
}

// 256 values as -1, 0 or 1 times d: q[i] = the factor plus one. The largest magnitude is d where all values are 0 or ±d, as in models
// trained so; else a smaller d (the mean of what rounds to ±1, from several beginnings) is nearer.
inline Half fit_ternary(const float* values, uint8_t* q) {
  using Levels = WholeLevels<-1, 1>;
  const Normalized<256> block(values);
  const Alike<256> alike;
  const float largest = magnitude(extreme(block.x, 256));
  Half best = block.stored(largest);
  float least = squared_error<Levels>(block.x, alike.w, 256, block.meaning(best));
  for (int part = 1; part <= 8; part++) {
    float d = largest * static_cast<float>(part) / 8;
    for (int round = 0; round < 3; round++) {
      const float inverse = inverse_or_zero(d);
      Lanes sizes{}, counts{};
      for (size_t i = 0; i < 256; i += 8) {
        const Lanes level = Levels::nearest(eight(block.x + i) * inverse);
        sizes += level * eight(block.x + i);
        counts += level * level;
      }
      if (sum(counts) > 0) d = sum(sizes) / sum(counts);
    }
    const Half candidate = block.stored(d);
    const float error = squared_error<Levels>(block.x, alike.w, 256, block.meaning(candidate));
    if (error >= least) continue;
    least = error;
    best = candidate;
  }
  int8_t levels[256];
  round_to_levels<Levels>(block.x, 256, block.meaning(best), levels);
  for (size_t i = 0; i < 256; i++) q[i] = static_cast<uint8_t>(levels[i] + 1);
  return best;
}

// Byte i of 16 holds value i of 32 below and value i + 16 above.
inline void pack_nibbles(const uint8_t* q, uint8_t* packed) {
  for (size_t i = 0; i < 16; i++) packed[i] = static_cast<uint8_t>((q[i] & 15) | (q[i + 16] & 15) << 4);
}

// Bit i of 32 is the fifth bit of value i.
inline void pack_fifth_bits(const uint8_t* q, uint8_t* packed) {
  uint32_t bits = 0;
  for (size_t i = 0; i < 32; i++) bits |= static_cast<uint32_t>(q[i] >> 4 & 1) << i;
  __builtin_memcpy(packed, &bits, sizeof bits);
}

// The lower two bits of 256 values: a half of 128 shares 32 bytes, value 32 * j + i of it lies in bits 2j, 2j + 1 of byte i.
inline void pack_two_bits(const uint8_t* q, uint8_t* packed) {
  for (size_t i = 0; i < 64; i++) {
    const uint8_t* of = q + i / 32 * 128 + i % 32;
    packed[i] = static_cast<uint8_t>((of[0] & 3) | (of[32] & 3) << 2 | (of[64] & 3) << 4 | (of[96] & 3) << 6);
  }
}

}  // namespace
}  // namespace infernode::quant
