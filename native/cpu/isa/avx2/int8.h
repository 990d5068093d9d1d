// Dot products of stored weights with int8 activations: byte pairs, then 16-bit pairs.
#pragma once

#include "cpu/isa/avx2/lanes.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

constexpr int kByteOffset = 0;                                          // signed bytes stay signed
constexpr size_t kBlockTokens = 3, kSuperTokens = 3, kFloatTokens = 6;  // per register tile, beside 16 rows

INFERNODE_INLINE Ints multiply_pairs(Ints a, Ints b) { return Ints(_mm256_madd_epi16(__m256i(a), __m256i(b))); }
INFERNODE_INLINE Ints add_halves(Ints a, Ints b) { return Ints(_mm256_add_epi16(__m256i(a), __m256i(b))); }

struct UnsignedBytes {
  Ints bytes;
  INFERNODE_INLINE Ints pairs(Ints activations) const {
    return Ints(_mm256_maddubs_epi16(__m256i(bytes), __m256i(activations)));
  }
};
// The magnitude of the weight times the activation with the weight's sign.
struct SignedBytes {
  __m256i magnitude, bytes;
  INFERNODE_INLINE explicit SignedBytes(Ints weights) : magnitude(_mm256_abs_epi8(__m256i(weights))), bytes(__m256i(weights)) {}
  INFERNODE_INLINE Ints pairs(Ints activations) const {
    return Ints(_mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(__m256i(activations), bytes)));
  }
};

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA

#include "cpu/isa/avx2/pair_dots.h"
