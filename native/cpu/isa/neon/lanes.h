// One weight row per 32-bit lane, eight at once in two registers: loading, turning and adding up bytes for the matmul tiles. No
// dot product yet.
#pragma once

#include <arm_neon.h>

#include "cpu/kernels/row_group.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

constexpr size_t kLanes = 8;
constexpr size_t kStep = 32;        // values of one row in a pair of registers
constexpr size_t kPanelGroups = 2;  // a panel has this many times kLanes rows

// Compilers keep vectors wider than a register in memory, so a pair of registers is a struct.
struct Ints {
  int32x4_t low, high;
};
struct Floats {
  float32x4_t low, high;
};

INFERNODE_INLINE Ints load_ints(const void* p) {
  const int8_t* bytes = static_cast<const int8_t*>(p);  // of any alignment
  return {vreinterpretq_s32_s8(vld1q_s8(bytes)), vreinterpretq_s32_s8(vld1q_s8(bytes + 16))};
}
INFERNODE_INLINE void store_ints(void* p, Ints x) {
  vst1q_s8(static_cast<int8_t*>(p), vreinterpretq_s8_s32(x.low));
  vst1q_s8(static_cast<int8_t*>(p) + 16, vreinterpretq_s8_s32(x.high));
}
INFERNODE_INLINE Floats load_floats(const void* p) {
  const Ints x = load_ints(p);
  return {vreinterpretq_f32_s32(x.low), vreinterpretq_f32_s32(x.high)};
}
INFERNODE_INLINE void store_floats(void* p, Floats x) {
  store_ints(p, {vreinterpretq_s32_f32(x.low), vreinterpretq_s32_f32(x.high)});
}
INFERNODE_INLINE Ints all_ints(int32_t x) { return {vdupq_n_s32(x), vdupq_n_s32(x)}; }
INFERNODE_INLINE Floats all_floats(float x) { return {vdupq_n_f32(x), vdupq_n_f32(x)}; }
INFERNODE_INLINE Floats as_floats(Ints pattern) { return {vreinterpretq_f32_s32(pattern.low), vreinterpretq_f32_s32(pattern.high)}; }
INFERNODE_INLINE Ints as_ints(Floats x) { return {vreinterpretq_s32_f32(x.low), vreinterpretq_s32_f32(x.high)}; }
// To the optimizer, a value that it has never seen.
INFERNODE_INLINE void forget(Ints& x) { asm volatile("" : "+w"(x.low), "+w"(x.high)); }
// Four activation bytes, or two 16-bit sums, in every lane.
INFERNODE_INLINE Ints all_of(const void* four_bytes) {
  int32_t x;
  __builtin_memcpy(&x, four_bytes, 4);
  return all_ints(x);
}

INFERNODE_INLINE Ints operator+(Ints a, Ints b) { return {vaddq_s32(a.low, b.low), vaddq_s32(a.high, b.high)}; }
INFERNODE_INLINE Ints operator-(Ints a, Ints b) { return {vsubq_s32(a.low, b.low), vsubq_s32(a.high, b.high)}; }
INFERNODE_INLINE Ints operator*(Ints a, Ints b) { return {vmulq_s32(a.low, b.low), vmulq_s32(a.high, b.high)}; }
INFERNODE_INLINE Ints operator*(Ints a, int b) { return {vmulq_n_s32(a.low, b), vmulq_n_s32(a.high, b)}; }
INFERNODE_INLINE Ints operator&(Ints a, Ints b) { return {vandq_s32(a.low, b.low), vandq_s32(a.high, b.high)}; }
INFERNODE_INLINE Ints operator|(Ints a, Ints b) { return {vorrq_s32(a.low, b.low), vorrq_s32(a.high, b.high)}; }
INFERNODE_INLINE Ints operator^(Ints a, Ints b) { return {veorq_s32(a.low, b.low), veorq_s32(a.high, b.high)}; }
INFERNODE_INLINE Ints operator&(Ints a, int b) { return a & all_ints(b); }
INFERNODE_INLINE Ints operator|(Ints a, int b) { return a | all_ints(b); }
INFERNODE_INLINE Ints operator^(Ints a, int b) { return a ^ all_ints(b); }
INFERNODE_INLINE Ints operator<<(Ints a, Ints n) { return {vshlq_s32(a.low, n.low), vshlq_s32(a.high, n.high)}; }
INFERNODE_INLINE Ints operator>>(Ints a, Ints n) { return {vshlq_s32(a.low, vnegq_s32(n.low)), vshlq_s32(a.high, vnegq_s32(n.high))}; }
INFERNODE_INLINE Ints operator<<(Ints a, int n) { return a << all_ints(n); }
INFERNODE_INLINE Ints operator>>(Ints a, int n) { return a >> all_ints(n); }
INFERNODE_INLINE Ints& operator+=(Ints& a, Ints b) { return a = a + b; }
INFERNODE_INLINE Ints& operator^=(Ints& a, Ints b) { return a = a ^ b; }
INFERNODE_INLINE Floats operator*(Floats a, Floats b) { return {vmulq_f32(a.low, b.low), vmulq_f32(a.high, b.high)}; }
INFERNODE_INLINE Floats operator-(Floats a) { return {vnegq_f32(a.low), vnegq_f32(a.high)}; }
INFERNODE_INLINE Floats multiply_add(Floats a, Floats b, Floats c) {
  return {vfmaq_f32(c.low, a.low, b.low), vfmaq_f32(c.high, a.high, b.high)};
}
INFERNODE_INLINE Floats to_floats(Ints x) { return {vcvtq_f32_s32(x.low), vcvtq_f32_s32(x.high)}; }
// The f16 in the lower half of each lane.
INFERNODE_INLINE Floats halves_to_floats(Ints x) {
  return {vcvt_f32_f16(vreinterpret_f16_s16(vmovn_s32(x.low))), vcvt_f32_f16(vreinterpret_f16_s16(vmovn_s32(x.high)))};
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
  const int32x4_t x = vreinterpretq_s32_s8(vld1q_s8(static_cast<const int8_t*>(first)));
  return {x, x};
}
// For all lanes; for every other 16 bytes.
INFERNODE_INLINE Ints for_pieces(int a, int) { return all_ints(a); }
INFERNODE_INLINE Ints for_halves(int a, int b) { return {vdupq_n_s32(a), vdupq_n_s32(b)}; }
// Sets `value` in byte i where bit i is set.
INFERNODE_INLINE Ints set_bits(Ints bytes, uint32_t bits, uint32_t, uint8_t value) {
  const uint8x16_t bit_of = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201));
  const uint8x16_t four = vreinterpretq_u8_u32(vdupq_n_u32(bits));
  const uint8x16_t first = vcombine_u8(vdup_n_u8(0), vdup_n_u8(1)), second = vcombine_u8(vdup_n_u8(2), vdup_n_u8(3));
  const uint8x16_t low = vandq_u8(vtstq_u8(vqtbl1q_u8(four, first), bit_of), vdupq_n_u8(value));
  const uint8x16_t high = vandq_u8(vtstq_u8(vqtbl1q_u8(four, second), bit_of), vdupq_n_u8(value));
  return bytes | Ints{vreinterpretq_s32_u8(low), vreinterpretq_s32_u8(high)};
}
// A table of 16 bytes, for `lookup`.
INFERNODE_INLINE Ints load_table(const int8_t* sixteen) { return load_twice<true>(sixteen, sixteen); }
INFERNODE_INLINE int32x4_t lookup(int32x4_t table, int32x4_t indices) {
  return vreinterpretq_s32_u8(vqtbl1q_u8(vreinterpretq_u8_s32(table), vreinterpretq_u8_s32(indices)));
}
// table[i] for each byte i < 16.
INFERNODE_INLINE Ints lookup(Ints table, Ints indices) { return {lookup(table.low, indices.low), lookup(table.high, indices.high)}; }

// r[i] lane j ↔ r[j] lane i, for four rows of four lanes.
INFERNODE_INLINE void transpose(int32x4_t (&r)[4]) {
  const int64x2_t a = vreinterpretq_s64_s32(vtrn1q_s32(r[0], r[1])), b = vreinterpretq_s64_s32(vtrn2q_s32(r[0], r[1]));
  const int64x2_t c = vreinterpretq_s64_s32(vtrn1q_s32(r[2], r[3])), d = vreinterpretq_s64_s32(vtrn2q_s32(r[2], r[3]));
  r[0] = vreinterpretq_s32_s64(vtrn1q_s64(a, c)), r[1] = vreinterpretq_s32_s64(vtrn1q_s64(b, d));
  r[2] = vreinterpretq_s32_s64(vtrn2q_s64(a, c)), r[3] = vreinterpretq_s32_s64(vtrn2q_s64(b, d));
}
// The same for eight of eight.
INFERNODE_INLINE void transpose(Ints (&rows)[kLanes]) {
  int32x4_t quarters[2][2][4];  // [rows][columns]
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) quarters[i / 4][0][i % 4] = rows[i].low, quarters[i / 4][1][i % 4] = rows[i].high;
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) transpose(quarters[i / 2][i % 2]);
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) rows[i] = {quarters[0][i / 4][i % 4], quarters[1][i / 4][i % 4]};
}

// Lane i: all lanes of r[i] added up.
INFERNODE_INLINE int32x4_t sums_of(int32x4_t r0, int32x4_t r1, int32x4_t r2, int32x4_t r3) {
  return vpaddq_s32(vpaddq_s32(r0, r1), vpaddq_s32(r2, r3));
}
// rows[i] holds kStep / 4 partial sums of row i; out[j] gets, in lane i, the sum over the j-th 16 values of row i.
INFERNODE_INLINE void sums_of_16(const Ints (&rows)[kLanes], Ints (&out)[kStep / 16]) {
  out[0] = {sums_of(rows[0].low, rows[1].low, rows[2].low, rows[3].low),
            sums_of(rows[4].low, rows[5].low, rows[6].low, rows[7].low)};
  out[1] = {sums_of(rows[0].high, rows[1].high, rows[2].high, rows[3].high),
            sums_of(rows[4].high, rows[5].high, rows[6].high, rows[7].high)};
}
// The same over each 32 values.
INFERNODE_INLINE void sums_of_32(const Ints (&rows)[kLanes], Ints (&out)[kStep / 32]) {
  int32x4_t whole[kLanes];
#pragma GCC unroll 8
  for (size_t i = 0; i < kLanes; i++) whole[i] = vaddq_s32(rows[i].low, rows[i].high);
  out[0] = {sums_of(whole[0], whole[1], whole[2], whole[3]), sums_of(whole[4], whole[5], whole[6], whole[7])};
}

// The f16 at `offset` of each row.
template <bool kFewRegisters = false>
INFERNODE_INLINE Floats load_halves(const RowGroup& rows, size_t offset) {
  const uint64_t low = static_cast<uint64_t>(four_halves<kFewRegisters>(rows, 0, offset));
  const uint64_t high = static_cast<uint64_t>(four_halves<kFewRegisters>(rows, 4, offset));
  return {vcvt_f32_f16(vreinterpret_f16_u64(vcreate_u64(low))), vcvt_f32_f16(vreinterpret_f16_u64(vcreate_u64(high)))};
}
// The four bytes at `offset` of four rows, of all rows.
INFERNODE_INLINE int32x4_t four_words(const RowGroup& rows, size_t lane, size_t offset) {
  return vreinterpretq_s32_u64(vcombine_u64(vcreate_u64(static_cast<uint64_t>(two_words(rows, lane, offset))),
                                            vcreate_u64(static_cast<uint64_t>(two_words(rows, lane + 2, offset)))));
}
INFERNODE_INLINE Ints load_word(const RowGroup& rows, size_t offset) {
  return {four_words(rows, 0, offset), four_words(rows, 4, offset)};
}
// The byte at `offset` of each row.
INFERNODE_INLINE Ints load_bytes(const RowGroup& rows, size_t offset) {
  const uint16x8_t wide = vmovl_u8(vcreate_u8(static_cast<uint64_t>(eight_bytes(rows, 0, offset))));
  return {vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(wide))), vreinterpretq_s32_u32(vmovl_high_u16(wide))};
}
// The 16 bytes at `offset` of each row, as four vectors of 4 bytes a row.
INFERNODE_INLINE void load_words(const RowGroup& rows, size_t offset, Ints (&words)[4]) {
  int32x4_t r[2][4];
#pragma GCC unroll 8
  for (size_t i = 0; i < 8; i++)
    r[i / 4][i % 4] = vreinterpretq_s32_s8(vld1q_s8(reinterpret_cast<const int8_t*>(rows.at(i) + offset)));
  transpose(r[0]);
  transpose(r[1]);
#pragma GCC unroll 4
  for (size_t i = 0; i < 4; i++) words[i] = {r[0][i], r[1][i]};
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
