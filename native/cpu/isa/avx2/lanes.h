// One weight row per 32-bit lane, eight at once: loading, turning and adding up bytes for the matmul tiles. No dot product yet.
#pragma once

#include <immintrin.h>

#include "cpu/kernels/row_group.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

constexpr size_t kLanes = 8;
constexpr size_t kStep = 32;        // values of one row in a vector of bytes
constexpr size_t kPanelGroups = 2;  // a panel has this many times kLanes rows
typedef int32_t Ints __attribute__((vector_size(32)));
typedef float Floats __attribute__((vector_size(32)));

INFERNODE_INLINE Ints load_ints(const void* p) { return Ints(_mm256_loadu_si256(static_cast<const __m256i*>(p))); }
INFERNODE_INLINE void store_ints(void* p, Ints x) { _mm256_storeu_si256(static_cast<__m256i*>(p), __m256i(x)); }
INFERNODE_INLINE Floats load_floats(const void* p) { return _mm256_loadu_ps(static_cast<const float*>(p)); }
INFERNODE_INLINE void store_floats(void* p, Floats x) { _mm256_storeu_ps(static_cast<float*>(p), x); }
INFERNODE_INLINE Ints all_ints(int32_t x) { return Ints(_mm256_set1_epi32(x)); }
INFERNODE_INLINE Floats all_floats(float x) { return _mm256_set1_ps(x); }
INFERNODE_INLINE Floats as_floats(Ints pattern) { return Floats(pattern); }
INFERNODE_INLINE Ints as_ints(Floats x) { return Ints(x); }
// To the optimizer, a value that it has never seen.
INFERNODE_INLINE void forget(Ints& x) { asm volatile("" : "+v"(x)); }
// Four activation bytes, or two 16-bit sums, in every lane.
INFERNODE_INLINE Ints all_of(const void* four_bytes) {
  int32_t x;
  __builtin_memcpy(&x, four_bytes, 4);
  return all_ints(x);
}
INFERNODE_INLINE Floats multiply_add(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
INFERNODE_INLINE Floats to_floats(Ints x) { return _mm256_cvtepi32_ps(__m256i(x)); }
// The f16 in the lower half of each lane.
INFERNODE_INLINE Floats halves_to_floats(Ints x) {
  const __m256i packed = _mm256_packus_epi32(__m256i(x) & _mm256_set1_epi32(0xffff), _mm256_setzero_si256());
  return _mm256_cvtph_ps(_mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08)));
}

// 32 bytes at each of two addresses: here only the first fits. So it is with all that follows.
template <bool kFull>
INFERNODE_INLINE Ints load_pieces(const void* first, const void*) {
  return load_ints(first);
}
// The same 32 bytes, as often as they fit.
INFERNODE_INLINE Ints load_repeated(const void* p) { return load_ints(p); }
// 16 bytes, twice.
template <bool kFull>
INFERNODE_INLINE Ints load_twice(const void* first, const void*) {
  return Ints(_mm256_broadcastsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(first))));
}
// For all lanes; for every other 16 bytes.
INFERNODE_INLINE Ints for_pieces(int a, int) { return all_ints(a); }
INFERNODE_INLINE Ints for_halves(int a, int b) { return Ints{a, a, a, a, b, b, b, b}; }
// Sets `value` in byte i where bit i is set.
INFERNODE_INLINE Ints set_bits(Ints bytes, uint32_t bits, uint32_t, uint8_t value) {
  const __m256i byte_of = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  const __m256i bit_of = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201));
  const __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(bits)), byte_of) & bit_of;
  return bytes | Ints(_mm256_cmpeq_epi8(spread, bit_of) & _mm256_set1_epi8(static_cast<char>(value)));
}
// A table of 16 bytes, for `lookup`.
INFERNODE_INLINE Ints load_table(const int8_t* sixteen) { return load_twice<true>(sixteen, sixteen); }
// table[i] for each byte i < 16.
INFERNODE_INLINE Ints lookup(Ints table, Ints indices) { return Ints(_mm256_shuffle_epi8(__m256i(table), __m256i(indices))); }

// r[i] lane j ↔ r[j] lane i.
INFERNODE_INLINE void transpose(Ints (&rows)[kLanes]) {
  __m256i r[8], t[8];
  for (int i = 0; i < 8; i++) r[i] = __m256i(rows[i]);
  for (int i = 0; i < 4; i++) {
    t[2 * i] = _mm256_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm256_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 2; i++) {
    r[4 * i] = _mm256_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 1] = _mm256_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 2] = _mm256_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    r[4 * i + 3] = _mm256_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
  for (int i = 0; i < 4; i++) {
    rows[i] = Ints(_mm256_permute2x128_si256(r[i], r[4 + i], 0x20));
    rows[4 + i] = Ints(_mm256_permute2x128_si256(r[i], r[4 + i], 0x31));
  }
}

// rows[i] holds kStep / 4 partial sums of row i; out[j] gets, in lane i, the sum over the j-th 16 values of row i.
INFERNODE_INLINE void sums_of_16(const Ints (&rows)[kLanes], Ints (&out)[kStep / 16]) {
  __m256i four[2];
  for (int i = 0; i < 2; i++) {
    Ints two[2];
    for (int j = 0; j < 2; j++) {
      const __m256i a = __m256i(rows[4 * i + 2 * j]), b = __m256i(rows[4 * i + 2 * j + 1]);
      two[j] = Ints(_mm256_unpacklo_epi32(a, b)) + Ints(_mm256_unpackhi_epi32(a, b));
    }
    four[i] = __m256i(Ints(_mm256_unpacklo_epi64(__m256i(two[0]), __m256i(two[1]))) +
                      Ints(_mm256_unpackhi_epi64(__m256i(two[0]), __m256i(two[1]))));
  }
  out[0] = Ints(_mm256_permute2x128_si256(four[0], four[1], 0x20));
  out[1] = Ints(_mm256_permute2x128_si256(four[0], four[1], 0x31));
}
// The same over each 32 values.
INFERNODE_INLINE void sums_of_32(const Ints (&rows)[kLanes], Ints (&out)[kStep / 32]) {
  Ints sixteens[2];
  sums_of_16(rows, sixteens);
  out[0] = sixteens[0] + sixteens[1];
}

// The f16 at `offset` of each row, put together in general registers: vector inserts would be shuffles, which are scarce.
template <bool kFewRegisters = false>
INFERNODE_INLINE Floats load_halves(const RowGroup& rows, size_t offset) {
  return _mm256_cvtph_ps(_mm_set_epi64x(four_halves<kFewRegisters>(rows, 4, offset), four_halves<kFewRegisters>(rows, 0, offset)));
}
// The four bytes at `offset` of each row.
INFERNODE_INLINE Ints load_word(const RowGroup& rows, size_t offset) {
  return Ints(_mm256_set_epi64x(two_words(rows, 6, offset), two_words(rows, 4, offset),
                                two_words(rows, 2, offset), two_words(rows, 0, offset)));
}
// The byte at `offset` of each row.
INFERNODE_INLINE Ints load_bytes(const RowGroup& rows, size_t offset) {
  return Ints(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(eight_bytes(rows, 0, offset))));
}
// The 16 bytes at `offset` of each row, as four vectors of 4 bytes a row.
INFERNODE_INLINE void load_words(const RowGroup& rows, size_t offset, Ints (&words)[4]) {
  __m256i r[4];
  auto quarter = [&](size_t i) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows.at(i) + offset)); };
  for (size_t i = 0; i < 4; i++) r[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(quarter(i)), quarter(4 + i), 1);
  const __m256i t0 = _mm256_unpacklo_epi32(r[0], r[1]), t1 = _mm256_unpackhi_epi32(r[0], r[1]);
  const __m256i t2 = _mm256_unpacklo_epi32(r[2], r[3]), t3 = _mm256_unpackhi_epi32(r[2], r[3]);
  words[0] = Ints(_mm256_unpacklo_epi64(t0, t2)), words[1] = Ints(_mm256_unpackhi_epi64(t0, t2));
  words[2] = Ints(_mm256_unpacklo_epi64(t1, t3)), words[3] = Ints(_mm256_unpackhi_epi64(t1, t3));
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
