// Products of four bytes at a time, unsigned keys with signed queries, in one vpdpbusd.
#pragma once

#include "simd.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

constexpr int kKeyOffset = 128;

struct Quads {
  __m256i bytes;
};
INFERNODE_INLINE Quads load_quads(const int8_t* p) { return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))}; }
// Not I32, whose type is one of 64-bit lanes: GCC would copy a sum before and after each use as one of 32-bit lanes.
struct Dots {
  typedef int32_t Lanes __attribute__((vector_size(32)));
  Lanes v;
  INFERNODE_INLINE static Dots zero() { return {Lanes{}}; }
  INFERNODE_INLINE static Dots all(int32_t x) { return {Lanes{} + x}; }
};
INFERNODE_INLINE F32 to_f32(Dots x) { return to_f32(I32{__m256i(x.v)}); }

INFERNODE_INLINE Dots add_dots(Dots sum, Quads keys, int32_t q) {
  // The intrinsic has the type of I32.
  asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum.v) : "x"(keys.bytes), "x"(_mm256_set1_epi32(q)));
  return sum;
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
