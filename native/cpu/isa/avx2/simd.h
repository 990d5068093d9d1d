// The vector vocabulary with 8 lanes of AVX2, FMA and F16C. Its specification: ../scalar/simd.h.
#pragma once

#include <immintrin.h>

#include "cpu/isa/simd_types.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

struct Mask {
  __m256 v;  // all bits of a lane
};

struct I32 {
  static constexpr size_t lanes = 8;
  __m256i v;
  INFERNODE_INLINE static I32 zero() { return {_mm256_setzero_si256()}; }
  INFERNODE_INLINE static I32 all(int32_t x) { return {_mm256_set1_epi32(x)}; }
  INFERNODE_INLINE static I32 iota() { return {_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)}; }
};

struct F32 {
  static constexpr size_t lanes = 8;
  __m256 v;
  INFERNODE_INLINE static F32 zero() { return {_mm256_setzero_ps()}; }
  INFERNODE_INLINE static F32 all(float x) { return {_mm256_set1_ps(x)}; }
};

struct F64 {
  static constexpr size_t lanes = 8;
  __m256d low, high;
  INFERNODE_INLINE static F64 zero() { return {_mm256_setzero_pd(), _mm256_setzero_pd()}; }
  INFERNODE_INLINE static F64 all(double x) { return {_mm256_set1_pd(x), _mm256_set1_pd(x)}; }
};

// ---- bits

INFERNODE_INLINE I32 bits(F32 x) { return {_mm256_castps_si256(x.v)}; }
INFERNODE_INLINE F32 from_bits(I32 x) { return {_mm256_castsi256_ps(x.v)}; }

// ---- masks

INFERNODE_INLINE Mask first_lanes(size_t n) {
  const __m256i limit = _mm256_set1_epi32(static_cast<int32_t>(n < 8 ? n : 8));
  return {_mm256_castsi256_ps(_mm256_cmpgt_epi32(limit, I32::iota().v))};
}
INFERNODE_INLINE Mask operator&(Mask a, Mask b) { return {_mm256_and_ps(a.v, b.v)}; }
INFERNODE_INLINE Mask operator!(Mask a) { return {_mm256_xor_ps(a.v, _mm256_castsi256_ps(_mm256_set1_epi32(-1)))}; }
INFERNODE_INLINE bool any(Mask a) { return _mm256_movemask_ps(a.v) != 0; }

// ---- I32

INFERNODE_INLINE I32 operator+(I32 a, I32 b) { return {_mm256_add_epi32(a.v, b.v)}; }
INFERNODE_INLINE I32 operator-(I32 a, I32 b) { return {_mm256_sub_epi32(a.v, b.v)}; }
INFERNODE_INLINE I32 operator&(I32 a, I32 b) { return {_mm256_and_si256(a.v, b.v)}; }
INFERNODE_INLINE I32 operator|(I32 a, I32 b) { return {_mm256_or_si256(a.v, b.v)}; }
INFERNODE_INLINE I32 max(I32 a, I32 b) { return {_mm256_max_epi32(a.v, b.v)}; }
INFERNODE_INLINE I32 min(I32 a, I32 b) { return {_mm256_min_epi32(a.v, b.v)}; }
INFERNODE_INLINE Mask less(I32 a, I32 b) { return {_mm256_castsi256_ps(_mm256_cmpgt_epi32(b.v, a.v))}; }
INFERNODE_INLINE Mask equal(I32 a, I32 b) { return {_mm256_castsi256_ps(_mm256_cmpeq_epi32(a.v, b.v))}; }
template <int n>
INFERNODE_INLINE I32 shift_left(I32 x) {
  return {_mm256_slli_epi32(x.v, n)};
}
template <int n>
INFERNODE_INLINE I32 shift_right(I32 x) {
  return {_mm256_srai_epi32(x.v, n)};
}
INFERNODE_INLINE I32 select(Mask m, I32 yes, I32 no) {
  return bits({_mm256_blendv_ps(from_bits(no).v, from_bits(yes).v, m.v)});
}
INFERNODE_INLINE int32_t sum(I32 x) {
  const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(x.v), _mm256_extracti128_si256(x.v, 1));
  const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 1)));
}
INFERNODE_INLINE int32_t maximum(I32 x) {
  const __m128i four = _mm_max_epi32(_mm256_castsi256_si128(x.v), _mm256_extracti128_si256(x.v, 1));
  const __m128i two = _mm_max_epi32(four, _mm_unpackhi_epi64(four, four));
  return _mm_cvtsi128_si32(_mm_max_epi32(two, _mm_shuffle_epi32(two, 1)));
}

// ---- F32

INFERNODE_INLINE F32 operator+(F32 a, F32 b) { return {_mm256_add_ps(a.v, b.v)}; }
INFERNODE_INLINE F32 operator-(F32 a, F32 b) { return {_mm256_sub_ps(a.v, b.v)}; }
INFERNODE_INLINE F32 operator*(F32 a, F32 b) { return {_mm256_mul_ps(a.v, b.v)}; }
INFERNODE_INLINE F32 operator/(F32 a, F32 b) { return {_mm256_div_ps(a.v, b.v)}; }
INFERNODE_INLINE F32 abs(F32 x) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), x.v)}; }
INFERNODE_INLINE F32 copy_sign(F32 magnitude, F32 sign) {
  const __m256 sign_bit = _mm256_set1_ps(-0.0f);
  return {_mm256_or_ps(_mm256_andnot_ps(sign_bit, magnitude.v), _mm256_and_ps(sign_bit, sign.v))};
}
INFERNODE_INLINE F32 max(F32 a, F32 b) { return {_mm256_max_ps(a.v, b.v)}; }
INFERNODE_INLINE F32 min(F32 a, F32 b) { return {_mm256_min_ps(a.v, b.v)}; }
INFERNODE_INLINE Mask less(F32 a, F32 b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)}; }
INFERNODE_INLINE F32 select(Mask m, F32 yes, F32 no) { return {_mm256_blendv_ps(no.v, yes.v, m.v)}; }
INFERNODE_INLINE F32 fma(F32 a, F32 b, F32 c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
INFERNODE_INLINE F32 round(F32 x) { return {_mm256_round_ps(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
INFERNODE_INLINE I32 to_i32(F32 x) { return {_mm256_cvtps_epi32(x.v)}; }
INFERNODE_INLINE F32 to_f32(I32 x) { return {_mm256_cvtepi32_ps(x.v)}; }
INFERNODE_INLINE F32 times_power_of_2(F32 x, F32 n) {
  // In two steps, because 2^n may not be representable where x * 2^n is. Only the second can round.
  const I32 whole = to_i32(n), half = shift_right<1>(whole), bias = I32::all(127);
  return x * from_bits(shift_left<23>(half + bias)) * from_bits(shift_left<23>(whole - half + bias));
}
INFERNODE_INLINE float sum(F32 x) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(x.v), _mm256_extractf128_ps(x.v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
INFERNODE_INLINE float maximum(F32 x) {
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(x.v), _mm256_extractf128_ps(x.v, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
INFERNODE_INLINE float first_lane(F32 x) { return _mm256_cvtss_f32(x.v); }
INFERNODE_INLINE float square_root(float x) { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x))); }
INFERNODE_INLINE F32 square_root(F32 x) { return {_mm256_sqrt_ps(x.v)}; }

INFERNODE_INLINE __m256 middle_swapped(__m256 x) {  // 64-bit quarters 0, 2, 1, 3
  return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(x), 0xd8));
}
INFERNODE_INLINE void deinterleave(F32 a, F32 b, F32& even, F32& odd) {
  even = {middle_swapped(_mm256_shuffle_ps(a.v, b.v, 0x88))};
  odd = {middle_swapped(_mm256_shuffle_ps(a.v, b.v, 0xdd))};
}
INFERNODE_INLINE void interleave(F32 even, F32 odd, F32& a, F32& b) {
  const __m256 e = middle_swapped(even.v), o = middle_swapped(odd.v);
  a = {_mm256_unpacklo_ps(e, o)};
  b = {_mm256_unpackhi_ps(e, o)};
}

// ---- F64

INFERNODE_INLINE F64 operator+(F64 a, F64 b) { return {_mm256_add_pd(a.low, b.low), _mm256_add_pd(a.high, b.high)}; }
INFERNODE_INLINE F64 operator-(F64 a, F64 b) { return {_mm256_sub_pd(a.low, b.low), _mm256_sub_pd(a.high, b.high)}; }
INFERNODE_INLINE F64 operator*(F64 a, F64 b) { return {_mm256_mul_pd(a.low, b.low), _mm256_mul_pd(a.high, b.high)}; }
INFERNODE_INLINE F64 operator/(F64 a, F64 b) { return {_mm256_div_pd(a.low, b.low), _mm256_div_pd(a.high, b.high)}; }
INFERNODE_INLINE F64 select(Mask m, F64 yes, F64 no) {
  const __m256i low = _mm256_cvtepi32_epi64(_mm_castps_si128(_mm256_castps256_ps128(m.v)));
  const __m256i high = _mm256_cvtepi32_epi64(_mm_castps_si128(_mm256_extractf128_ps(m.v, 1)));
  return {_mm256_blendv_pd(no.low, yes.low, _mm256_castsi256_pd(low)),
          _mm256_blendv_pd(no.high, yes.high, _mm256_castsi256_pd(high))};
}
INFERNODE_INLINE F64 round(F64 x) {
  constexpr int nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_pd(x.low, nearest), _mm256_round_pd(x.high, nearest)};
}
INFERNODE_INLINE I32 to_i32(F64 x) { return {_mm256_set_m128i(_mm256_cvtpd_epi32(x.high), _mm256_cvtpd_epi32(x.low))}; }
INFERNODE_INLINE F64 widen(F32 x) {
  return {_mm256_cvtps_pd(_mm256_castps256_ps128(x.v)), _mm256_cvtps_pd(_mm256_extractf128_ps(x.v, 1))};
}
INFERNODE_INLINE F32 narrow(F64 x) { return {_mm256_set_m128(_mm256_cvtpd_ps(x.high), _mm256_cvtpd_ps(x.low))}; }
INFERNODE_INLINE double sum(F64 x) {
  const __m256d four = _mm256_add_pd(x.low, x.high);
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

// ---- memory

INFERNODE_INLINE F32 load(const float* p) { return {_mm256_loadu_ps(p)}; }
INFERNODE_INLINE F32 load(const float* p, size_t n) {
  if (n >= 8) return load(p);  // the common case, without a mask
  return {_mm256_maskload_ps(p, _mm256_castps_si256(first_lanes(n).v))};
}
INFERNODE_INLINE I32 load(const int32_t* p) { return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))}; }
INFERNODE_INLINE I32 load(const int32_t* p, size_t n) {
  return {_mm256_maskload_epi32(p, _mm256_castps_si256(first_lanes(n).v))};
}
INFERNODE_INLINE F32 load(const F16* p) { return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))}; }
INFERNODE_INLINE F32 load(const Bf16* p) {
  return from_bits(shift_left<16>({_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))}));
}
INFERNODE_INLINE F32 broadcast(const F16* p) { return {_mm256_cvtph_ps(_mm_set1_epi16(static_cast<int16_t>(p->bits)))}; }
INFERNODE_INLINE F32 load(const int8_t* p) {
  return to_f32({_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))});
}

INFERNODE_INLINE void store(float* p, F32 x) { _mm256_storeu_ps(p, x.v); }
INFERNODE_INLINE void store(float* p, F32 x, size_t n) {
  if (n >= 8) return store(p, x);  // masked stores are slow on AMD
  _mm256_maskstore_ps(p, _mm256_castps_si256(first_lanes(n).v), x.v);
}
INFERNODE_INLINE void store(int32_t* p, I32 x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x.v); }
INFERNODE_INLINE void store(int32_t* p, I32 x, size_t n) {
  _mm256_maskstore_epi32(p, _mm256_castps_si256(first_lanes(n).v), x.v);
}
INFERNODE_INLINE void store(int8_t* p, I32 x) {
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(x.v), _mm256_extracti128_si256(x.v, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
}
INFERNODE_INLINE void store(F16* p, F32 x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
INFERNODE_INLINE void store(Bf16* p, F32 x) {
  const I32 pattern = bits(x), last_bit = shift_right<16>(pattern) & I32::all(1);
  const Mask nan = {_mm256_cmp_ps(x.v, x.v, _CMP_UNORD_Q)};
  const I32 rounded = select(nan, pattern | I32::all(0x400000), pattern + I32::all(0x7fff) + last_bit);
  const __m256i high = _mm256_srli_epi32(rounded.v, 16);  // fits 16 bits unsigned: packus does not saturate
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1)));
}
// Elements below 32 bits have no masked moves: the ends of rows go through the stack.
template <class Element>
INFERNODE_INLINE auto load(const Element* p, size_t n) -> decltype(load(p)) {
  if (n >= 8) return load(p);
  Element row[8] = {};
  for (size_t i = 0; i < n; i++) row[i] = p[i];
  return load(row);
}
template <class Element, class Vector>
INFERNODE_INLINE void store(Element* p, Vector x, size_t n) {
  if (n >= 8) return store(p, x);
  Element row[8];
  store(row, x);
  for (size_t i = 0; i < n; i++) p[i] = row[i];
}

INFERNODE_INLINE void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
