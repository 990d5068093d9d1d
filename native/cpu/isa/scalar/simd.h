// The vector vocabulary with one lane: the specification that the other variants' simd.h follow, name by name.
//
// Arithmetic is IEEE 754 in round-to-nearest-even, one rounding per operation (fma, too). A load or store with n touches only
// the first n elements; lanes past them read as zero. n may exceed the number of lanes.
#pragma once

#include "cpu/isa/simd_types.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

struct Mask {
  bool v;
};

struct I32 {
  static constexpr size_t lanes = 1;
  int32_t v;
  INFERNODE_INLINE static I32 zero() { return {0}; }
  INFERNODE_INLINE static I32 all(int32_t x) { return {x}; }
  INFERNODE_INLINE static I32 iota() { return {0}; }  // 0, 1, 2, …
};

struct F32 {
  static constexpr size_t lanes = 1;
  float v;
  INFERNODE_INLINE static F32 zero() { return {0}; }
  INFERNODE_INLINE static F32 all(float x) { return {x}; }
};

// As many lanes as F32.
struct F64 {
  static constexpr size_t lanes = 1;
  double v;
  INFERNODE_INLINE static F64 zero() { return {0}; }
  INFERNODE_INLINE static F64 all(double x) { return {x}; }
};

// ---- bits

INFERNODE_INLINE I32 bits(F32 x) { return {__builtin_bit_cast(int32_t, x.v)}; }
INFERNODE_INLINE F32 from_bits(I32 x) { return {__builtin_bit_cast(float, x.v)}; }

// ---- masks

INFERNODE_INLINE Mask first_lanes(size_t n) { return {n > 0}; }
INFERNODE_INLINE Mask operator&(Mask a, Mask b) { return {a.v && b.v}; }
INFERNODE_INLINE Mask operator!(Mask a) { return {!a.v}; }
INFERNODE_INLINE bool any(Mask a) { return a.v; }

// ---- I32: wraps around

INFERNODE_INLINE I32 operator+(I32 a, I32 b) {
  return {static_cast<int32_t>(static_cast<uint32_t>(a.v) + static_cast<uint32_t>(b.v))};
}
INFERNODE_INLINE I32 operator-(I32 a, I32 b) {
  return {static_cast<int32_t>(static_cast<uint32_t>(a.v) - static_cast<uint32_t>(b.v))};
}
INFERNODE_INLINE I32 operator&(I32 a, I32 b) { return {a.v & b.v}; }
INFERNODE_INLINE I32 operator|(I32 a, I32 b) { return {a.v | b.v}; }
INFERNODE_INLINE I32 max(I32 a, I32 b) { return {a.v > b.v ? a.v : b.v}; }
INFERNODE_INLINE I32 min(I32 a, I32 b) { return {a.v < b.v ? a.v : b.v}; }
INFERNODE_INLINE Mask less(I32 a, I32 b) { return {a.v < b.v}; }
INFERNODE_INLINE Mask equal(I32 a, I32 b) { return {a.v == b.v}; }
template <int n>
INFERNODE_INLINE I32 shift_left(I32 x) {
  return {static_cast<int32_t>(static_cast<uint32_t>(x.v) << n)};
}
template <int n>  // arithmetic: copies the sign
INFERNODE_INLINE I32 shift_right(I32 x) {
  return {x.v >> n};
}
INFERNODE_INLINE I32 select(Mask m, I32 yes, I32 no) { return m.v ? yes : no; }
INFERNODE_INLINE int32_t sum(I32 x) { return x.v; }
INFERNODE_INLINE int32_t maximum(I32 x) { return x.v; }

// ---- F32

INFERNODE_INLINE F32 operator+(F32 a, F32 b) { return {a.v + b.v}; }
INFERNODE_INLINE F32 operator-(F32 a, F32 b) { return {a.v - b.v}; }
INFERNODE_INLINE F32 operator*(F32 a, F32 b) { return {a.v * b.v}; }
INFERNODE_INLINE F32 operator/(F32 a, F32 b) { return {a.v / b.v}; }
INFERNODE_INLINE F32 abs(F32 x) { return from_bits(bits(x) & I32::all(0x7fffffff)); }
INFERNODE_INLINE F32 copy_sign(F32 magnitude, F32 sign) {
  return from_bits((bits(magnitude) & I32::all(0x7fffffff)) | (bits(sign) & I32::all(INT32_MIN)));
}
// If either is NaN: b. So max(limit, x) keeps a NaN of x.
INFERNODE_INLINE F32 max(F32 a, F32 b) { return {a.v > b.v ? a.v : b.v}; }
INFERNODE_INLINE F32 min(F32 a, F32 b) { return {a.v < b.v ? a.v : b.v}; }
INFERNODE_INLINE Mask less(F32 a, F32 b) { return {a.v < b.v}; }  // false if either is NaN
INFERNODE_INLINE F32 select(Mask m, F32 yes, F32 no) { return m.v ? yes : no; }

// a * b + c, rounded once. Without an instruction for it, the product is exact in double and the sum is rounded twice, to
// double and to float. That differs from rounding once only where the first result lies in the middle of two floats (or is
// subnormal as a float). There the sum is rounded to odd: an inexact result gets a last bit of 1, which keeps what the second
// rounding needs to know. S. Boldo, G. Melquiond, "Emulation of a FMA and correctly rounded sums", IEEE ToC 57(4), 2008.
INFERNODE_INLINE F32 fma(F32 a, F32 b, F32 c) {
#ifdef __FP_FAST_FMAF
  return {__builtin_fmaf(a.v, b.v, c.v)};
#else
  const double product = static_cast<double>(a.v) * static_cast<double>(b.v), addend = c.v;
  double result = product + addend;
  const uint64_t pattern = __builtin_bit_cast(uint64_t, result);
  const bool normal = (result < 0 ? -result : result) >= 0x1p-126;  // false for NaN
  if ((pattern & 0x1fffffff) == 0x10000000 || !normal) {
    const double part = result - product;
    const double error = (product - (result - part)) + (addend - part);  // exact; NaN where result is not finite
    if ((error > 0 || error < 0) && (pattern & 1) == 0)
      result = __builtin_bit_cast(double, pattern + ((error > 0) == (result > 0) ? 1 : -1));
  }
  return {static_cast<float>(result)};
#endif
}
INFERNODE_INLINE F32 round(F32 x) {  // to nearest even, |x| < 2^22
  const F32 shift = F32::all(12582912.0f);
  return copy_sign((x + shift) - shift, x);
}
INFERNODE_INLINE I32 to_i32(F32 x) {  // to nearest even; |x| < 2^22, anything else gives some integer
  const float rounded = round(x).v;
  return {rounded > -4194305.0f && rounded < 4194305.0f ? static_cast<int32_t>(rounded) : INT32_MIN};
}
INFERNODE_INLINE F32 to_f32(I32 x) { return {static_cast<float>(x.v)}; }
// x * 2^n, rounded once; n is integral, -250 <= n <= 250.
INFERNODE_INLINE F32 times_power_of_2(F32 x, F32 n) {
  const I32 whole = to_i32(n), half = shift_right<1>(whole), bias = I32::all(127);
  return x * from_bits(shift_left<23>(half + bias)) * from_bits(shift_left<23>(whole - half + bias));
}
// Over the lanes, by halves: lane i with lane i + lanes/2, then i + lanes/4, … The order of every reduction in the kernels.
INFERNODE_INLINE float sum(F32 x) { return x.v; }
INFERNODE_INLINE float maximum(F32 x) { return x.v; }
INFERNODE_INLINE float first_lane(F32 x) { return x.v; }
INFERNODE_INLINE float square_root(float x) { return __builtin_sqrtf(x); }
INFERNODE_INLINE F32 square_root(F32 x) { return {__builtin_sqrtf(x.v)}; }

// (a, b) as one sequence of 2 * lanes elements: its even and odd elements; and back.
INFERNODE_INLINE void deinterleave(F32 a, F32 b, F32& even, F32& odd) {
  even = a;
  odd = b;
}
INFERNODE_INLINE void interleave(F32 even, F32 odd, F32& a, F32& b) {
  a = even;
  b = odd;
}

// ---- F64

INFERNODE_INLINE F64 operator+(F64 a, F64 b) { return {a.v + b.v}; }
INFERNODE_INLINE F64 operator-(F64 a, F64 b) { return {a.v - b.v}; }
INFERNODE_INLINE F64 operator*(F64 a, F64 b) { return {a.v * b.v}; }
INFERNODE_INLINE F64 operator/(F64 a, F64 b) { return {a.v / b.v}; }
INFERNODE_INLINE F64 select(Mask m, F64 yes, F64 no) { return m.v ? yes : no; }
INFERNODE_INLINE F64 round(F64 x) {  // to nearest even, |x| < 2^51
  const double shift = 6755399441055744.0;
  return {(x.v + shift) - shift};
}
INFERNODE_INLINE I32 to_i32(F64 x) { return {static_cast<int32_t>(x.v)}; }  // of an integral x within int32
INFERNODE_INLINE F64 widen(F32 x) { return {x.v}; }
INFERNODE_INLINE F32 narrow(F64 x) { return {static_cast<float>(x.v)}; }
INFERNODE_INLINE double sum(F64 x) { return x.v; }  // by halves, as for F32

// ---- memory, any alignment

INFERNODE_INLINE F32 load(const float* p) { return {*p}; }
INFERNODE_INLINE F32 load(const Bf16* p) { return from_bits({static_cast<int32_t>(static_cast<uint32_t>(p->bits) << 16)}); }
INFERNODE_INLINE F32 load(const F16* p) {
  const uint32_t sign = static_cast<uint32_t>(p->bits & 0x8000) << 16, rest = static_cast<uint32_t>(p->bits & 0x7fff) << 13;
  // Rebias the exponent by 112: infinity and NaN go up twice, subnormals are normalized by a float subtraction.
  uint32_t pattern = rest + (112u << 23);
  if (rest >= 0x7c00u << 13) pattern += 112u << 23;
  if (rest < 0x0400u << 13)
    pattern =
        __builtin_bit_cast(uint32_t, __builtin_bit_cast(float, rest + (113u << 23)) - __builtin_bit_cast(float, 113u << 23));
  return {__builtin_bit_cast(float, sign | pattern)};
}
INFERNODE_INLINE F32 broadcast(const F16* p) { return load(p); }  // to all lanes
INFERNODE_INLINE F32 load(const int8_t* p) { return {static_cast<float>(*p)}; }
INFERNODE_INLINE I32 load(const int32_t* p) { return {*p}; }
template <class Element>
INFERNODE_INLINE auto load(const Element* p, size_t n) -> decltype(load(p)) {
  if (n == 0) return {};
  return load(p);
}

INFERNODE_INLINE void store(float* p, F32 x) { *p = x.v; }
INFERNODE_INLINE void store(int32_t* p, I32 x) { *p = x.v; }
INFERNODE_INLINE void store(int8_t* p, I32 x) { *p = static_cast<int8_t>(x.v); }  // values within int8
INFERNODE_INLINE void store(Bf16* p, F32 x) {                                     // to nearest even; NaN stays NaN
  const uint32_t pattern = __builtin_bit_cast(uint32_t, x.v);
  const uint32_t rounded = pattern + 0x7fff + (pattern >> 16 & 1);
  p->bits = static_cast<uint16_t>((x.v == x.v ? rounded : pattern | 0x400000) >> 16);
}
INFERNODE_INLINE void store(F16* p, F32 x) {  // to nearest even; NaN stays NaN
  const uint32_t pattern = __builtin_bit_cast(uint32_t, x.v), sign = pattern >> 16 & 0x8000, rest = pattern & 0x7fffffff;
  uint32_t half;
  if (rest > 0x7f800000) {
    half = 0x7e00 | (rest >> 13 & 0x3ff);
  } else if (rest >= 0x477ff000) {  // 65520 and more round to infinity
    half = 0x7c00;
  } else if (rest < 0x38800000) {  // below 2^-14 the last bit is worth 2^-24: adding 0.5 rounds there
    half = __builtin_bit_cast(uint32_t, __builtin_bit_cast(float, rest) + 0.5f) - 0x3f000000;
  } else {
    half = (rest - (112u << 23) + 0xfff + (rest >> 13 & 1)) >> 13;
  }
  p->bits = static_cast<uint16_t>(sign | half);
}
template <class Element, class Vector>
INFERNODE_INLINE void store(Element* p, Vector x, size_t n) {
  if (n > 0) store(p, x);
}

// Asks for the cache line of p in the second level, to be read soon.
INFERNODE_INLINE void prefetch(const void* p) { __builtin_prefetch(p, 0, 2); }

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
