// One weight row per 32-bit lane, sixteen at once: loading, turning and adding up bytes for the matmul tiles. No dot product
// yet.
#pragma once

#include <immintrin.h>

#include "cpu/kernels/row_group.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

constexpr size_t kLanes = 16;
constexpr size_t kStep = 64;        // values of one row in a vector of bytes
constexpr size_t kPanelGroups = 2;  // a panel has this many times kLanes rows
typedef int32_t Ints __attribute__((vector_size(64)));
typedef float Floats __attribute__((vector_size(64)));

INFERNODE_INLINE Ints load_ints(const void* p) { return Ints(_mm512_loadu_si512(p)); }
INFERNODE_INLINE void store_ints(void* p, Ints x) { _mm512_storeu_si512(p, __m512i(x)); }
INFERNODE_INLINE Floats load_floats(const void* p) { return _mm512_loadu_ps(p); }
INFERNODE_INLINE void store_floats(void* p, Floats x) { _mm512_storeu_ps(p, x); }
INFERNODE_INLINE Ints all_ints(int32_t x) { return Ints(_mm512_set1_epi32(x)); }
INFERNODE_INLINE Floats all_floats(float x) { return _mm512_set1_ps(x); }
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
INFERNODE_INLINE Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
INFERNODE_INLINE Floats to_floats(Ints x) { return _mm512_cvtepi32_ps(__m512i(x)); }
// The f16 in the lower half of each lane.
INFERNODE_INLINE Floats halves_to_floats(Ints x) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(__m512i(x))); }

// 32 bytes at each of two addresses; only the first, then zeros, if not kFull. Masked broadcasts need no shuffle, unlike
// inserts, and shuffles are what bounds streaming.
template <bool kFull>
INFERNODE_INLINE Ints load_pieces(const void* first, const void* second) {
  const __m512i low = _mm512_zextsi256_si512(_mm256_loadu_si256(static_cast<const __m256i*>(first)));
  if constexpr (!kFull) return Ints(low);
  return Ints(_mm512_mask_broadcast_i64x4(low, 0xf0, _mm256_loadu_si256(static_cast<const __m256i*>(second))));
}
// The same 32 bytes, as often as they fit.
INFERNODE_INLINE Ints load_repeated(const void* p) {
  return Ints(_mm512_broadcast_i64x4(_mm256_loadu_si256(static_cast<const __m256i*>(p))));
}
// 16 bytes at each of two addresses, each twice; zeros for the second if not kFull.
template <bool kFull>
INFERNODE_INLINE Ints load_twice(const void* first, const void* second) {
  const __m128i a = _mm_loadu_si128(static_cast<const __m128i*>(first));
  if constexpr (!kFull) return Ints(_mm512_maskz_broadcast_i32x4(0x00ff, a));
  const __m128i b = _mm_loadu_si128(static_cast<const __m128i*>(second));
  return Ints(_mm512_mask_broadcast_i32x4(_mm512_broadcast_i32x4(a), 0xff00, b));
}
// For the lanes of the first and of the second 32 bytes; for every other 16 bytes.
INFERNODE_INLINE Ints for_pieces(int a, int b) { return Ints{a, a, a, a, a, a, a, a, b, b, b, b, b, b, b, b}; }
INFERNODE_INLINE Ints for_halves(int a, int b) { return Ints{a, a, a, a, b, b, b, b, a, a, a, a, b, b, b, b}; }
// Sets `value` in byte i where bit i is set: first for the first 32 bytes, second for the others.
INFERNODE_INLINE Ints set_bits(Ints bytes, uint32_t first, uint32_t second, uint8_t value) {
  const __mmask64 mask = static_cast<uint64_t>(second) << 32 | first;
  return Ints(_mm512_mask_add_epi8(__m512i(bytes), mask, __m512i(bytes), _mm512_set1_epi8(static_cast<char>(value))));
}
// A table of 16 bytes, for `lookup`.
INFERNODE_INLINE Ints load_table(const int8_t* sixteen) { return load_twice<true>(sixteen, sixteen); }
// table[i] for each byte i < 16.
INFERNODE_INLINE Ints lookup(Ints table, Ints indices) { return Ints(_mm512_shuffle_epi8(__m512i(table), __m512i(indices))); }

// r[i] lane j ↔ r[j] lane i.
INFERNODE_INLINE void transpose(Ints (&rows)[kLanes]) {
  __m512i r[16], t[16];
  for (int i = 0; i < 16; i++) r[i] = __m512i(rows[i]);
  for (int i = 0; i < 8; i++) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 4; i++) {
    r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
  for (int i = 0; i < 4; i++) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88);
    t[4 + i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
    t[8 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
    t[12 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
  }
  for (int i = 0; i < 4; i++) {
    rows[i] = Ints(_mm512_shuffle_i32x4(t[i], t[8 + i], 0x88));
    rows[8 + i] = Ints(_mm512_shuffle_i32x4(t[i], t[8 + i], 0xdd));
    rows[4 + i] = Ints(_mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0x88));
    rows[12 + i] = Ints(_mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0xdd));
  }
}

// Weights are turned as they are stored: packed ones before they are unpacked, and of bytes two rows are in a vector as soon as
// they are loaded. Half the shuffles, or three quarters.
#define INFERNODE_TURNS_PACKED
// words[j], lane i: bytes 4j … 4j + 3 of row i's 32; pairs[i] holds those of rows i and i + 8.
INFERNODE_INLINE void turn_words(const __m512i (&pairs)[8], Ints (&words)[8]) {
  __m512i quads[2][4];  // [rows 0 … 3 and 8 … 11, or 4 … 7 and 12 … 15][word j and, in odd quarters, 4 + j]
  for (int i = 0; i < 2; i++) {
    const __m512i* r = pairs + 4 * i;
    const __m512i t0 = _mm512_unpacklo_epi32(r[0], r[1]), t1 = _mm512_unpackhi_epi32(r[0], r[1]);
    const __m512i t2 = _mm512_unpacklo_epi32(r[2], r[3]), t3 = _mm512_unpackhi_epi32(r[2], r[3]);
    quads[i][0] = _mm512_unpacklo_epi64(t0, t2), quads[i][1] = _mm512_unpackhi_epi64(t0, t2);
    quads[i][2] = _mm512_unpacklo_epi64(t1, t3), quads[i][3] = _mm512_unpackhi_epi64(t1, t3);
  }
  const __m512i even = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13), odd = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
  for (int j = 0; j < 4; j++) {
    words[j] = Ints(_mm512_permutex2var_epi64(quads[0][j], even, quads[1][j]));
    words[4 + j] = Ints(_mm512_permutex2var_epi64(quads[0][j], odd, quads[1][j]));
  }
}
// The 32 bytes at `offset` of each row.
INFERNODE_INLINE void load_turned(const RowGroup& rows, size_t offset, Ints (&words)[8]) {
  __m512i pairs[8];
#pragma GCC unroll 8
  for (size_t i = 0; i < 8; i++) pairs[i] = __m512i(load_pieces<true>(rows.at(i) + offset, rows.at(i + 8) + offset));
  turn_words(pairs, words);
}
// four[i], quarter q: rows 4i … 4i + 3, each summed over its q-th 16 values.
INFERNODE_INLINE void add_up(const Ints (&rows)[kLanes], __m512i (&four)[4]) {
  for (int i = 0; i < 4; i++) {
    Ints two[2];
    for (int j = 0; j < 2; j++) {
      const __m512i a = __m512i(rows[4 * i + 2 * j]), b = __m512i(rows[4 * i + 2 * j + 1]);
      two[j] = Ints(_mm512_unpacklo_epi32(a, b)) + Ints(_mm512_unpackhi_epi32(a, b));
    }
    four[i] = __m512i(Ints(_mm512_unpacklo_epi64(__m512i(two[0]), __m512i(two[1]))) +
                      Ints(_mm512_unpackhi_epi64(__m512i(two[0]), __m512i(two[1]))));
  }
}
// rows[i] holds kStep / 4 partial sums of row i; out[j] gets, in lane i, the sum over the j-th 16 values of row i.
INFERNODE_INLINE void sums_of_16(const Ints (&rows)[kLanes], Ints (&out)[kStep / 16]) {
  __m512i four[4];
  add_up(rows, four);
  for (int odd = 0; odd < 2; odd++) {
    const __m512i low = odd ? _mm512_shuffle_i32x4(four[0], four[1], 0xdd) : _mm512_shuffle_i32x4(four[0], four[1], 0x88);
    const __m512i high = odd ? _mm512_shuffle_i32x4(four[2], four[3], 0xdd) : _mm512_shuffle_i32x4(four[2], four[3], 0x88);
    out[odd] = Ints(_mm512_shuffle_i32x4(low, high, 0x88));
    out[2 + odd] = Ints(_mm512_shuffle_i32x4(low, high, 0xdd));
  }
}
// The same over each 32 values.
INFERNODE_INLINE void sums_of_32(const Ints (&rows)[kLanes], Ints (&out)[kStep / 32]) {
  __m512i four[4];
  add_up(rows, four);
  const Ints low = Ints(_mm512_shuffle_i32x4(four[0], four[1], 0x88)) + Ints(_mm512_shuffle_i32x4(four[0], four[1], 0xdd));
  const Ints high = Ints(_mm512_shuffle_i32x4(four[2], four[3], 0x88)) + Ints(_mm512_shuffle_i32x4(four[2], four[3], 0xdd));
  out[0] = Ints(_mm512_shuffle_i32x4(__m512i(low), __m512i(high), 0x88));
  out[1] = Ints(_mm512_shuffle_i32x4(__m512i(low), __m512i(high), 0xdd));
}

// The f16 at `offset` of each row. Put together in general registers, four at once: vector inserts would be shuffles again, and
// stored one by one and loaded together they would wait for the stores.
template <bool kFewRegisters = false>
INFERNODE_INLINE Floats load_halves(const RowGroup& rows, size_t offset) {
  const __m128i low = _mm_set_epi64x(four_halves<kFewRegisters>(rows, 4, offset), four_halves<kFewRegisters>(rows, 0, offset));
  const __m128i high = _mm_set_epi64x(four_halves<kFewRegisters>(rows, 12, offset), four_halves<kFewRegisters>(rows, 8, offset));
  return _mm512_cvtph_ps(_mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1));
}
// The four bytes at `offset` of each row.
INFERNODE_INLINE Ints load_word(const RowGroup& rows, size_t offset) {
  return Ints(_mm512_set_epi64(two_words(rows, 14, offset), two_words(rows, 12, offset), two_words(rows, 10, offset),
                               two_words(rows, 8, offset), two_words(rows, 6, offset), two_words(rows, 4, offset),
                               two_words(rows, 2, offset), two_words(rows, 0, offset)));
}
// The byte at `offset` of each row.
INFERNODE_INLINE Ints load_bytes(const RowGroup& rows, size_t offset) {
  return Ints(_mm512_cvtepu8_epi32(_mm_set_epi64x(eight_bytes(rows, 8, offset), eight_bytes(rows, 0, offset))));
}
// The 16 bytes at `offset` of each row, as four vectors of 4 bytes a row.
INFERNODE_INLINE void load_words(const RowGroup& rows, size_t offset, Ints (&words)[4]) {
  __m512i r[4];
  const auto quarter = [&](size_t i) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows.at(i) + offset)); };
#pragma GCC unroll 4
  for (size_t i = 0; i < 4; i++) {
    const __m512i two = _mm512_mask_broadcast_i32x4(_mm512_zextsi128_si512(quarter(i)), 0x00f0, quarter(4 + i));
    r[i] = _mm512_mask_broadcast_i32x4(_mm512_mask_broadcast_i32x4(two, 0x0f00, quarter(8 + i)), 0xf000, quarter(12 + i));
  }
  const __m512i t0 = _mm512_unpacklo_epi32(r[0], r[1]), t1 = _mm512_unpackhi_epi32(r[0], r[1]);
  const __m512i t2 = _mm512_unpacklo_epi32(r[2], r[3]), t3 = _mm512_unpackhi_epi32(r[2], r[3]);
  words[0] = Ints(_mm512_unpacklo_epi64(t0, t2)), words[1] = Ints(_mm512_unpackhi_epi64(t0, t2));
  words[2] = Ints(_mm512_unpacklo_epi64(t1, t3)), words[3] = Ints(_mm512_unpackhi_epi64(t1, t3));
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
