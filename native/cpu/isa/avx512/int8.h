// Dot products of stored weights with int8 activations without VNNI: byte pairs, then 16-bit pairs.
#pragma once

#include "cpu/isa/avx512/lanes.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

constexpr int kByteOffset = 0;                                           // signed bytes stay signed
constexpr size_t kBlockTokens = 4, kSuperTokens = 4, kFloatTokens = 12;  // per register tile, beside 32 rows

INFERNODE_INLINE Ints multiply_pairs(Ints a, Ints b) { return Ints(_mm512_madd_epi16(__m512i(a), __m512i(b))); }
INFERNODE_INLINE Ints add_halves(Ints a, Ints b) { return Ints(_mm512_add_epi16(__m512i(a), __m512i(b))); }
// Unsigned by signed.
INFERNODE_INLINE Ints multiply_bytes(Ints a, Ints b) { return Ints(_mm512_maddubs_epi16(__m512i(a), __m512i(b))); }

// The magnitude of the weight times the activation with the weight's sign. A panel that kept both would leave L1 no room for
// activations.
struct SignedBytes {
  static constexpr size_t kVectors = 1;
  __m512i magnitude;
  __mmask64 negative;
  INFERNODE_INLINE explicit SignedBytes(Ints bytes)
      : magnitude(_mm512_abs_epi8(__m512i(bytes))), negative(_mm512_movepi8_mask(__m512i(bytes))) {}
  INFERNODE_INLINE explicit SignedBytes(const std::byte* panel) : SignedBytes(load_ints(panel)) {}
  INFERNODE_INLINE static void store(Ints weights, std::byte* panel) { store_ints(panel, weights); }
  INFERNODE_INLINE Ints pairs(Ints activations) const {
    const __m512i a = __m512i(activations);
    return Ints(_mm512_maddubs_epi16(magnitude, _mm512_mask_sub_epi8(a, negative, _mm512_setzero_si512(), a)));
  }
};

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA

#include "cpu/isa/avx2/pair_dots.h"
