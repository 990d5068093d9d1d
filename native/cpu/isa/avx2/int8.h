// Dot products of stored weights with int8 activations: byte pairs, then 16-bit pairs.
#pragma once

#include "cpu/isa/avx2/lanes.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

constexpr int kByteOffset = 0;                                          // signed bytes stay signed
constexpr size_t kBlockTokens = 3, kSuperTokens = 3, kFloatTokens = 6;  // per register tile, beside 16 rows

INFERNODE_INLINE Ints multiply_pairs(Ints a, Ints b) { return Ints(_mm256_madd_epi16(__m256i(a), __m256i(b))); }
INFERNODE_INLINE Ints add_halves(Ints a, Ints b) { return Ints(_mm256_add_epi16(__m256i(a), __m256i(b))); }
// Unsigned by signed.
INFERNODE_INLINE Ints multiply_bytes(Ints a, Ints b) { return Ints(_mm256_maddubs_epi16(__m256i(a), __m256i(b))); }

// The magnitude of the weight times the activation with the weight's sign. A panel keeps both: loads are free beside the
// arithmetic, magnitudes are not.
struct SignedBytes {
  static constexpr size_t kVectors = 2;
  __m256i magnitude, bytes;

  INFERNODE_INLINE explicit SignedBytes(Ints weights) : magnitude(_mm256_abs_epi8(__m256i(weights))), bytes(__m256i(weights)) {}
  INFERNODE_INLINE explicit SignedBytes(const std::byte* panel)
      : magnitude(__m256i(load_ints(panel))), bytes(__m256i(load_ints(panel + sizeof magnitude))) {}
  INFERNODE_INLINE static void store(Ints weights, std::byte* panel) {
    store_ints(panel, Ints(_mm256_abs_epi8(__m256i(weights))));
    store_ints(panel + sizeof weights, weights);
  }
  INFERNODE_INLINE Ints pairs(Ints activations) const {
    return Ints(_mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(__m256i(activations), bytes)));
  }
};

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA

#include "cpu/isa/avx2/pair_dots.h"
