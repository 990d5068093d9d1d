// Products of four bytes at a time: pairs of a magnitude and a signed byte in 16 bits, then pairs of these.
#pragma once

#include "simd.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

constexpr int kKeyOffset = 0;

using Dots = I32;
struct Quads {
  __m256i bytes, magnitudes;
};
INFERNODE_INLINE Quads load_quads(const int8_t* p) {
  const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {bytes, _mm256_abs_epi8(bytes)};
}

INFERNODE_INLINE Dots add_dots(Dots sum, Quads keys, int32_t q) {
  // A pair is at most 2 · 127 · 127 and does not saturate.
  const __m256i pairs = _mm256_maddubs_epi16(keys.magnitudes, _mm256_sign_epi8(_mm256_set1_epi32(q), keys.bytes));
  return {_mm256_add_epi32(sum.v, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))};
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
