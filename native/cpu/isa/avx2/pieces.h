// A piece is 32 weights as bytes, in the order of k: what both the AVX2 and the AVX-512 tiles make of a file's blocks first.
#pragma once

#include <immintrin.h>

#include "cpu/isa/simd_types.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

using Piece = __m256i;

INFERNODE_INLINE Piece piece(const void* bytes) { return _mm256_loadu_si256(static_cast<const __m256i*>(bytes)); }
INFERNODE_INLINE Piece piece_of(uint8_t value) { return _mm256_set1_epi8(static_cast<char>(value)); }
// 16 bytes: their lower nibbles, then their upper ones.
INFERNODE_INLINE Piece nibbles(const void* bytes) {
  const __m128i v = _mm_loadu_si128(static_cast<const __m128i*>(bytes));
  return _mm256_inserti128_si256(_mm256_castsi128_si256(v), _mm_srli_epi16(v, 4), 1) & piece_of(15);
}
// Byte i is `value` where bit i is set, else 0.
INFERNODE_INLINE Piece bits_as(uint32_t bits, uint8_t value) {
#ifdef __AVX512VL__
  return _mm256_maskz_mov_epi8(bits, piece_of(value));
#else
  const __m256i byte_of = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  const __m256i bit_of = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201));
  const __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(bits)), byte_of) & bit_of;
  return _mm256_cmpeq_epi8(spread, bit_of) & piece_of(value);
#endif
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
