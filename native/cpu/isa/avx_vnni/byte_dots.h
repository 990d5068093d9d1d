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
INFERNODE_INLINE I32 add_dots(I32 sum, Quads keys, int32_t q) {
  return {_mm256_dpbusd_avx_epi32(sum.v, keys.bytes, _mm256_set1_epi32(q))};
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
