// Products of four bytes at a time: pairs of a magnitude and a signed byte in 16 bits, then pairs of these.
#pragma once

#include "simd.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

constexpr int kKeyOffset = 0;

using Dots = I32;
struct Quads {
  __m512i magnitudes;
  __mmask64 negative;
};
INFERNODE_INLINE Quads load_quads(const int8_t* p) {
  const __m512i bytes = _mm512_loadu_si512(p);
  return {_mm512_abs_epi8(bytes), _mm512_movepi8_mask(bytes)};
}

INFERNODE_INLINE Dots add_dots(Dots sum, Quads keys, int32_t q) {
  // A pair is at most 2 · 127 · 127 and does not saturate.
  const __m512i all = _mm512_set1_epi32(q), signs = _mm512_mask_sub_epi8(all, keys.negative, _mm512_setzero_si512(), all);
  return {_mm512_add_epi32(sum.v, _mm512_madd_epi16(_mm512_maddubs_epi16(keys.magnitudes, signs), _mm512_set1_epi16(1)))};
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
