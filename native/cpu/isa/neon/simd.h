// The vector vocabulary with 4 lanes of NEON. Its specification: ../scalar/simd.h.
#pragma once

#include <arm_neon.h>

#include "cpu/isa/simd_types.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

struct Mask {
  uint32x4_t v;  // all bits of a lane
};

struct I32 {
  static constexpr size_t lanes = 4;
  int32x4_t v;
  INFERNODE_INLINE static I32 zero() { return {vdupq_n_s32(0)}; }
  INFERNODE_INLINE static I32 all(int32_t x) { return {vdupq_n_s32(x)}; }
  INFERNODE_INLINE static I32 iota() { return {vcombine_s32(vcreate_s32(0x100000000), vcreate_s32(0x300000002))}; }
};

struct F32 {
  static constexpr size_t lanes = 4;
  float32x4_t v;
  INFERNODE_INLINE static F32 zero() { return {vdupq_n_f32(0)}; }
  INFERNODE_INLINE static F32 all(float x) { return {vdupq_n_f32(x)}; }
};

struct F64 {
  static constexpr size_t lanes = 4;
  float64x2_t low, high;
  INFERNODE_INLINE static F64 zero() { return all(0); }
  INFERNODE_INLINE static F64 all(double x) { return {vdupq_n_f64(x), vdupq_n_f64(x)}; }
};

// ---- bits

INFERNODE_INLINE I32 bits(F32 x) { return {vreinterpretq_s32_f32(x.v)}; }
INFERNODE_INLINE F32 from_bits(I32 x) { return {vreinterpretq_f32_s32(x.v)}; }

// ---- masks

INFERNODE_INLINE Mask first_lanes(size_t n) { return {vcgtq_s32(vdupq_n_s32(static_cast<int32_t>(n < 4 ? n : 4)), I32::iota().v)}; }
INFERNODE_INLINE Mask operator&(Mask a, Mask b) { return {vandq_u32(a.v, b.v)}; }
INFERNODE_INLINE Mask operator!(Mask a) { return {vmvnq_u32(a.v)}; }
INFERNODE_INLINE bool any(Mask a) { return vmaxvq_u32(a.v) != 0; }

// ---- I32

INFERNODE_INLINE I32 operator+(I32 a, I32 b) { return {vaddq_s32(a.v, b.v)}; }
INFERNODE_INLINE I32 operator-(I32 a, I32 b) { return {vsubq_s32(a.v, b.v)}; }
INFERNODE_INLINE I32 operator&(I32 a, I32 b) { return {vandq_s32(a.v, b.v)}; }
INFERNODE_INLINE I32 operator|(I32 a, I32 b) { return {vorrq_s32(a.v, b.v)}; }
INFERNODE_INLINE I32 max(I32 a, I32 b) { return {vmaxq_s32(a.v, b.v)}; }
INFERNODE_INLINE I32 min(I32 a, I32 b) { return {vminq_s32(a.v, b.v)}; }
INFERNODE_INLINE Mask less(I32 a, I32 b) { return {vcltq_s32(a.v, b.v)}; }
INFERNODE_INLINE Mask equal(I32 a, I32 b) { return {vceqq_s32(a.v, b.v)}; }
template <int n>
INFERNODE_INLINE I32 shift_left(I32 x) {
  return {vshlq_n_s32(x.v, n)};
}
template <int n>
INFERNODE_INLINE I32 shift_right(I32 x) {
  return {vshrq_n_s32(x.v, n)};
}
INFERNODE_INLINE I32 select(Mask m, I32 yes, I32 no) { return {vbslq_s32(m.v, yes.v, no.v)}; }
INFERNODE_INLINE int32_t sum(I32 x) { return vaddvq_s32(x.v); }
INFERNODE_INLINE int32_t maximum(I32 x) { return vmaxvq_s32(x.v); }

// ---- F32

INFERNODE_INLINE F32 operator+(F32 a, F32 b) { return {vaddq_f32(a.v, b.v)}; }
INFERNODE_INLINE F32 operator-(F32 a, F32 b) { return {vsubq_f32(a.v, b.v)}; }
INFERNODE_INLINE F32 operator*(F32 a, F32 b) { return {vmulq_f32(a.v, b.v)}; }
INFERNODE_INLINE F32 operator/(F32 a, F32 b) { return {vdivq_f32(a.v, b.v)}; }
INFERNODE_INLINE F32 abs(F32 x) { return {vabsq_f32(x.v)}; }
INFERNODE_INLINE F32 copy_sign(F32 magnitude, F32 sign) { return {vbslq_f32(vdupq_n_u32(0x80000000), sign.v, magnitude.v)}; }
// Not vmaxq and vminq, which give NaN if either is NaN.
INFERNODE_INLINE F32 max(F32 a, F32 b) { return {vbslq_f32(vcgtq_f32(a.v, b.v), a.v, b.v)}; }
INFERNODE_INLINE F32 min(F32 a, F32 b) { return {vbslq_f32(vcltq_f32(a.v, b.v), a.v, b.v)}; }
INFERNODE_INLINE Mask less(F32 a, F32 b) { return {vcltq_f32(a.v, b.v)}; }
INFERNODE_INLINE F32 select(Mask m, F32 yes, F32 no) { return {vbslq_f32(m.v, yes.v, no.v)}; }
INFERNODE_INLINE F32 fma(F32 a, F32 b, F32 c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
INFERNODE_INLINE F32 round(F32 x) { return {vrndnq_f32(x.v)}; }
INFERNODE_INLINE I32 to_i32(F32 x) { return {vcvtnq_s32_f32(x.v)}; }
INFERNODE_INLINE F32 to_f32(I32 x) { return {vcvtq_f32_s32(x.v)}; }
INFERNODE_INLINE F32 times_power_of_2(F32 x, F32 n) {
  // In two steps, because 2^n may not be representable where x * 2^n is. Only the second can round.
  const I32 whole = to_i32(n), half = shift_right<1>(whole), bias = I32::all(127);
  return x * from_bits(shift_left<23>(half + bias)) * from_bits(shift_left<23>(whole - half + bias));
}
INFERNODE_INLINE float sum(F32 x) {
  const float32x2_t two = vadd_f32(vget_low_f32(x.v), vget_high_f32(x.v));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}
INFERNODE_INLINE float maximum(F32 x) {
  const float32x2_t low = vget_low_f32(x.v), high = vget_high_f32(x.v), two = vbsl_f32(vcgt_f32(low, high), low, high);
  const float a = vget_lane_f32(two, 0), b = vget_lane_f32(two, 1);
  return a > b ? a : b;
}
INFERNODE_INLINE float first_lane(F32 x) { return vgetq_lane_f32(x.v, 0); }
INFERNODE_INLINE float square_root(float x) { return __builtin_sqrtf(x); }
INFERNODE_INLINE F32 square_root(F32 x) { return {vsqrtq_f32(x.v)}; }

INFERNODE_INLINE void deinterleave(F32 a, F32 b, F32& even, F32& odd) {
  even = {vuzp1q_f32(a.v, b.v)};
  odd = {vuzp2q_f32(a.v, b.v)};
}
INFERNODE_INLINE void interleave(F32 even, F32 odd, F32& a, F32& b) {
  a = {vzip1q_f32(even.v, odd.v)};
  b = {vzip2q_f32(even.v, odd.v)};
}

// ---- F64

INFERNODE_INLINE F64 operator+(F64 a, F64 b) { return {vaddq_f64(a.low, b.low), vaddq_f64(a.high, b.high)}; }
INFERNODE_INLINE F64 operator-(F64 a, F64 b) { return {vsubq_f64(a.low, b.low), vsubq_f64(a.high, b.high)}; }
INFERNODE_INLINE F64 operator*(F64 a, F64 b) { return {vmulq_f64(a.low, b.low), vmulq_f64(a.high, b.high)}; }
INFERNODE_INLINE F64 operator/(F64 a, F64 b) { return {vdivq_f64(a.low, b.low), vdivq_f64(a.high, b.high)}; }
INFERNODE_INLINE F64 select(Mask m, F64 yes, F64 no) {
  const int32x4_t mask = vreinterpretq_s32_u32(m.v);  // widened with its sign: all bits again
  return {vbslq_f64(vreinterpretq_u64_s64(vmovl_s32(vget_low_s32(mask))), yes.low, no.low),
          vbslq_f64(vreinterpretq_u64_s64(vmovl_high_s32(mask)), yes.high, no.high)};
}
INFERNODE_INLINE F64 round(F64 x) { return {vrndnq_f64(x.low), vrndnq_f64(x.high)}; }
INFERNODE_INLINE I32 to_i32(F64 x) { return {vcombine_s32(vmovn_s64(vcvtq_s64_f64(x.low)), vmovn_s64(vcvtq_s64_f64(x.high)))}; }
INFERNODE_INLINE F64 widen(F32 x) { return {vcvt_f64_f32(vget_low_f32(x.v)), vcvt_high_f64_f32(x.v)}; }
INFERNODE_INLINE F32 narrow(F64 x) { return {vcvt_high_f32_f64(vcvt_f32_f64(x.low), x.high)}; }
INFERNODE_INLINE double sum(F64 x) {
  const float64x2_t two = vaddq_f64(x.low, x.high);
  return vgetq_lane_f64(two, 0) + vgetq_lane_f64(two, 1);
}

// ---- memory

INFERNODE_INLINE F32 load(const float* p) { return {vld1q_f32(p)}; }
INFERNODE_INLINE I32 load(const int32_t* p) { return {vld1q_s32(p)}; }
INFERNODE_INLINE F32 load(const F16* p) {
  return {vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(reinterpret_cast<const uint16_t*>(p))))};
}
INFERNODE_INLINE F32 load(const Bf16* p) {
  return {vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(reinterpret_cast<const uint16_t*>(p)), 16))};
}
INFERNODE_INLINE F32 broadcast(const F16* p) { return {vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(p->bits)))}; }
INFERNODE_INLINE F32 load(const int8_t* p) {
  uint32_t four;
  __builtin_memcpy(&four, p, 4);
  return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(four)))))};
}

INFERNODE_INLINE void store(float* p, F32 x) { vst1q_f32(p, x.v); }
INFERNODE_INLINE void store(int32_t* p, I32 x) { vst1q_s32(p, x.v); }
INFERNODE_INLINE void store(int8_t* p, I32 x) {
  const int16x4_t words = vmovn_s32(x.v);
  const uint32_t four = vget_lane_u32(vreinterpret_u32_s8(vmovn_s16(vcombine_s16(words, words))), 0);
  __builtin_memcpy(p, &four, 4);
}
INFERNODE_INLINE void store(F16* p, F32 x) {
  vst1_u16(reinterpret_cast<uint16_t*>(p), vreinterpret_u16_f16(vcvt_f16_f32(x.v)));
}
INFERNODE_INLINE void store(Bf16* p, F32 x) {
  const I32 pattern = bits(x), last_bit = shift_right<16>(pattern) & I32::all(1);
  const I32 rounded = select({vceqq_f32(x.v, x.v)}, pattern + I32::all(0x7fff) + last_bit, pattern | I32::all(0x400000));
  vst1_u16(reinterpret_cast<uint16_t*>(p), vshrn_n_u32(vreinterpretq_u32_s32(rounded.v), 16));
}
// There are no masked moves: the ends of rows go through the stack.
template <class Element>
INFERNODE_INLINE auto load(const Element* p, size_t n) -> decltype(load(p)) {
  if (n >= 4) return load(p);
  Element row[4] = {};
  for (size_t i = 0; i < n; i++) row[i] = p[i];
  return load(row);
}
template <class Element, class Vector>
INFERNODE_INLINE void store(Element* p, Vector x, size_t n) {
  if (n >= 4) return store(p, x);
  Element row[4];
  store(row, x);
  for (size_t i = 0; i < n; i++) p[i] = row[i];
}

INFERNODE_INLINE void prefetch(const void* p) { __builtin_prefetch(p, 0, 2); }

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
