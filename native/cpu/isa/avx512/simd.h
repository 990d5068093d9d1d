// The vector vocabulary with 16 lanes of AVX-512 (F, BW, VL, DQ). Its specification: ../scalar/simd.h.
#pragma once

#include <immintrin.h>

#include "cpu/isa/simd_types.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

struct Mask {
  __mmask16 v;
};

struct I32 {
  static constexpr size_t lanes = 16;
  __m512i v;
  INFERNODE_INLINE static I32 zero() { return {_mm512_setzero_si512()}; }
  INFERNODE_INLINE static I32 all(int32_t x) { return {_mm512_set1_epi32(x)}; }
  INFERNODE_INLINE static I32 iota() { return {_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)}; }
};

struct F32 {
  static constexpr size_t lanes = 16;
  __m512 v;
  INFERNODE_INLINE static F32 zero() { return {_mm512_setzero_ps()}; }
  INFERNODE_INLINE static F32 all(float x) { return {_mm512_set1_ps(x)}; }
};

struct F64 {
  static constexpr size_t lanes = 16;
  __m512d low, high;
  INFERNODE_INLINE static F64 zero() { return {_mm512_setzero_pd(), _mm512_setzero_pd()}; }
  INFERNODE_INLINE static F64 all(double x) { return {_mm512_set1_pd(x), _mm512_set1_pd(x)}; }
};

// ---- bits

INFERNODE_INLINE I32 bits(F32 x) { return {_mm512_castps_si512(x.v)}; }
INFERNODE_INLINE F32 from_bits(I32 x) { return {_mm512_castsi512_ps(x.v)}; }

// ---- masks

INFERNODE_INLINE Mask first_lanes(size_t n) { return {static_cast<__mmask16>(n < 16 ? (1u << n) - 1 : 0xffffu)}; }
INFERNODE_INLINE Mask operator&(Mask a, Mask b) { return {static_cast<__mmask16>(a.v & b.v)}; }
INFERNODE_INLINE Mask operator!(Mask a) { return {static_cast<__mmask16>(~a.v)}; }
INFERNODE_INLINE bool any(Mask a) { return a.v != 0; }

// ---- I32

INFERNODE_INLINE I32 operator+(I32 a, I32 b) { return {_mm512_add_epi32(a.v, b.v)}; }
INFERNODE_INLINE I32 operator-(I32 a, I32 b) { return {_mm512_sub_epi32(a.v, b.v)}; }
INFERNODE_INLINE I32 operator&(I32 a, I32 b) { return {_mm512_and_si512(a.v, b.v)}; }
INFERNODE_INLINE I32 operator|(I32 a, I32 b) { return {_mm512_or_si512(a.v, b.v)}; }
INFERNODE_INLINE I32 max(I32 a, I32 b) { return {_mm512_max_epi32(a.v, b.v)}; }
INFERNODE_INLINE I32 min(I32 a, I32 b) { return {_mm512_min_epi32(a.v, b.v)}; }
INFERNODE_INLINE Mask less(I32 a, I32 b) { return {_mm512_cmplt_epi32_mask(a.v, b.v)}; }
INFERNODE_INLINE Mask equal(I32 a, I32 b) { return {_mm512_cmpeq_epi32_mask(a.v, b.v)}; }
template <int n>
INFERNODE_INLINE I32 shift_left(I32 x) {
  return {_mm512_slli_epi32(x.v, n)};
}
template <int n>
INFERNODE_INLINE I32 shift_right(I32 x) {
  return {_mm512_srai_epi32(x.v, n)};
}
INFERNODE_INLINE I32 select(Mask m, I32 yes, I32 no) { return {_mm512_mask_blend_epi32(m.v, no.v, yes.v)}; }
INFERNODE_INLINE int32_t sum(I32 x) { return _mm512_reduce_add_epi32(x.v); }
INFERNODE_INLINE int32_t maximum(I32 x) { return _mm512_reduce_max_epi32(x.v); }

// ---- F32

INFERNODE_INLINE F32 operator+(F32 a, F32 b) { return {_mm512_add_ps(a.v, b.v)}; }
INFERNODE_INLINE F32 operator-(F32 a, F32 b) { return {_mm512_sub_ps(a.v, b.v)}; }
INFERNODE_INLINE F32 operator*(F32 a, F32 b) { return {_mm512_mul_ps(a.v, b.v)}; }
INFERNODE_INLINE F32 operator/(F32 a, F32 b) { return {_mm512_div_ps(a.v, b.v)}; }
INFERNODE_INLINE F32 abs(F32 x) { return {_mm512_andnot_ps(_mm512_set1_ps(-0.0f), x.v)}; }
INFERNODE_INLINE F32 copy_sign(F32 magnitude, F32 sign) {
  const __m512i sign_bit = _mm512_set1_epi32(INT32_MIN);  // sign_bit ? sign : magnitude
  return from_bits({_mm512_ternarylogic_epi32(sign_bit, bits(sign).v, bits(magnitude).v, 0xca)});
}
INFERNODE_INLINE F32 max(F32 a, F32 b) { return {_mm512_max_ps(a.v, b.v)}; }
INFERNODE_INLINE F32 min(F32 a, F32 b) { return {_mm512_min_ps(a.v, b.v)}; }
INFERNODE_INLINE Mask less(F32 a, F32 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
INFERNODE_INLINE F32 select(Mask m, F32 yes, F32 no) { return {_mm512_mask_blend_ps(m.v, no.v, yes.v)}; }
INFERNODE_INLINE F32 fma(F32 a, F32 b, F32 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
INFERNODE_INLINE F32 round(F32 x) { return {_mm512_roundscale_ps(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
INFERNODE_INLINE I32 to_i32(F32 x) { return {_mm512_cvtps_epi32(x.v)}; }
INFERNODE_INLINE F32 to_f32(I32 x) { return {_mm512_cvtepi32_ps(x.v)}; }
INFERNODE_INLINE F32 times_power_of_2(F32 x, F32 n) { return {_mm512_scalef_ps(x.v, n.v)}; }
INFERNODE_INLINE float sum(F32 x) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
INFERNODE_INLINE float maximum(F32 x) {
  const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1));
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
INFERNODE_INLINE float first_lane(F32 x) { return _mm512_cvtss_f32(x.v); }
INFERNODE_INLINE float square_root(float x) { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x))); }
INFERNODE_INLINE F32 square_root(F32 x) { return {_mm512_sqrt_ps(x.v)}; }

INFERNODE_INLINE void deinterleave(F32 a, F32 b, F32& even, F32& odd) {
  const __m512i evens = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  even = {_mm512_permutex2var_ps(a.v, evens, b.v)};
  odd = {_mm512_permutex2var_ps(a.v, _mm512_or_si512(evens, _mm512_set1_epi32(1)), b.v)};
}
INFERNODE_INLINE void interleave(F32 even, F32 odd, F32& a, F32& b) {
  const __m512i first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  a = {_mm512_permutex2var_ps(even.v, first, odd.v)};
  b = {_mm512_permutex2var_ps(even.v, _mm512_or_si512(first, _mm512_set1_epi32(8)), odd.v)};
}

// ---- F64

INFERNODE_INLINE F64 operator+(F64 a, F64 b) { return {_mm512_add_pd(a.low, b.low), _mm512_add_pd(a.high, b.high)}; }
INFERNODE_INLINE F64 operator-(F64 a, F64 b) { return {_mm512_sub_pd(a.low, b.low), _mm512_sub_pd(a.high, b.high)}; }
INFERNODE_INLINE F64 operator*(F64 a, F64 b) { return {_mm512_mul_pd(a.low, b.low), _mm512_mul_pd(a.high, b.high)}; }
INFERNODE_INLINE F64 operator/(F64 a, F64 b) { return {_mm512_div_pd(a.low, b.low), _mm512_div_pd(a.high, b.high)}; }
INFERNODE_INLINE F64 select(Mask m, F64 yes, F64 no) {
  return {_mm512_mask_blend_pd(static_cast<__mmask8>(m.v), no.low, yes.low),
          _mm512_mask_blend_pd(static_cast<__mmask8>(m.v >> 8), no.high, yes.high)};
}
INFERNODE_INLINE F64 round(F64 x) {
  constexpr int nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm512_roundscale_pd(x.low, nearest), _mm512_roundscale_pd(x.high, nearest)};
}
INFERNODE_INLINE I32 to_i32(F64 x) {
  return {_mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtpd_epi32(x.low)), _mm512_cvtpd_epi32(x.high), 1)};
}
INFERNODE_INLINE F64 widen(F32 x) {
  return {_mm512_cvtps_pd(_mm512_castps512_ps256(x.v)), _mm512_cvtps_pd(_mm512_extractf32x8_ps(x.v, 1))};
}
INFERNODE_INLINE F32 narrow(F64 x) {
  return {_mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(x.low)), _mm512_cvtpd_ps(x.high), 1)};
}
INFERNODE_INLINE double sum(F64 x) {
  const __m512d eight = _mm512_add_pd(x.low, x.high);
  const __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd(eight, 1));
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

// ---- memory

INFERNODE_INLINE F32 load(const float* p) { return {_mm512_loadu_ps(p)}; }
INFERNODE_INLINE F32 load(const float* p, size_t n) {
  if (n >= 16) return load(p);  // the common case, without a mask
  return {_mm512_maskz_loadu_ps(first_lanes(n).v, p)};
}
INFERNODE_INLINE I32 load(const int32_t* p) { return {_mm512_loadu_si512(p)}; }
INFERNODE_INLINE I32 load(const int32_t* p, size_t n) { return {_mm512_maskz_loadu_epi32(first_lanes(n).v, p)}; }
INFERNODE_INLINE F32 load(const F16* p) { return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))}; }
INFERNODE_INLINE F32 load(const F16* p, size_t n) { return {_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_lanes(n).v, p))}; }
INFERNODE_INLINE F32 from_bf16(__m256i x) { return from_bits(shift_left<16>({_mm512_cvtepu16_epi32(x)})); }
INFERNODE_INLINE F32 load(const Bf16* p) { return from_bf16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
INFERNODE_INLINE F32 load(const Bf16* p, size_t n) { return from_bf16(_mm256_maskz_loadu_epi16(first_lanes(n).v, p)); }
INFERNODE_INLINE F32 broadcast(const F16* p) { return {_mm512_cvtph_ps(_mm256_set1_epi16(static_cast<int16_t>(p->bits)))}; }
INFERNODE_INLINE F32 load(const int8_t* p) {
  return to_f32({_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))});
}
INFERNODE_INLINE F32 load(const int8_t* p, size_t n) {
  return to_f32({_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(first_lanes(n).v, p))});
}

INFERNODE_INLINE void store(float* p, F32 x) { _mm512_storeu_ps(p, x.v); }
INFERNODE_INLINE void store(float* p, F32 x, size_t n) {
  if (n >= 16) return store(p, x);
  _mm512_mask_storeu_ps(p, first_lanes(n).v, x.v);
}
INFERNODE_INLINE void store(int32_t* p, I32 x) { _mm512_storeu_si512(p, x.v); }
INFERNODE_INLINE void store(int32_t* p, I32 x, size_t n) { _mm512_mask_storeu_epi32(p, first_lanes(n).v, x.v); }
INFERNODE_INLINE void store(int8_t* p, I32 x) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x.v)); }
INFERNODE_INLINE void store(int8_t* p, I32 x, size_t n) { _mm512_mask_cvtepi32_storeu_epi8(p, first_lanes(n).v, x.v); }
INFERNODE_INLINE __m256i to_f16(F32 x) { return _mm512_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INFERNODE_INLINE void store(F16* p, F32 x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_f16(x)); }
INFERNODE_INLINE void store(F16* p, F32 x, size_t n) { _mm256_mask_storeu_epi16(p, first_lanes(n).v, to_f16(x)); }
INFERNODE_INLINE __m256i to_bf16(F32 x) {
  const I32 pattern = bits(x), last_bit = shift_right<16>(pattern) & I32::all(1);
  const __mmask16 nan = _mm512_cmp_ps_mask(x.v, x.v, _CMP_UNORD_Q);
  const I32 rounded = select({nan}, pattern | I32::all(0x400000), pattern + I32::all(0x7fff) + last_bit);
  return _mm512_cvtepi32_epi16(shift_right<16>(rounded).v);
}
INFERNODE_INLINE void store(Bf16* p, F32 x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_bf16(x)); }
INFERNODE_INLINE void store(Bf16* p, F32 x, size_t n) { _mm256_mask_storeu_epi16(p, first_lanes(n).v, to_bf16(x)); }

INFERNODE_INLINE void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
