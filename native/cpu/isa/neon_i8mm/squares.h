// Squares: the sums of two tokens and two weight rows in a register, to which one instruction adds eight products each. A
// vector holds eight values of a token and eight of the next, or of two weight rows.
#pragma once

#include "cpu/isa/neon/lanes.h"
#include "cpu/kernels/multiply_super_blocks.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

constexpr size_t kTileTokens = kFewTokens + 1;  // from so many on
constexpr size_t kRowPairs = kLanes / 2;        // of a group
constexpr size_t kVectorBytes = 16;

typedef int32x4_t Square;  // token 0 with rows 0 and 1, then token 1

INFERNODE_INLINE Square add_products(Square sums, int32x4_t tokens, int32x4_t rows) {
  return vmmlaq_s32(sums, vreinterpretq_s8_s32(tokens), vreinterpretq_s8_s32(rows));
}
INFERNODE_INLINE int32x4_t load_vector(const void* p) { return vreinterpretq_s32_s8(vld1q_s8(static_cast<const int8_t*>(p))); }
INFERNODE_INLINE void store_vector(void* p, int32x4_t x) { vst1q_s8(static_cast<int8_t*>(p), vreinterpretq_s8_s32(x)); }
// The first, and the last, eight bytes of each.
INFERNODE_INLINE int32x4_t first_halves(int32x4_t a, int32x4_t b) {
  return vreinterpretq_s32_s64(vtrn1q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)));
}
INFERNODE_INLINE int32x4_t last_halves(int32x4_t a, int32x4_t b) {
  return vreinterpretq_s32_s64(vtrn2q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)));
}
INFERNODE_INLINE Ints subtract_bytes(Ints bytes, int x) {
  const int8x16_t offset = vdupq_n_s8(static_cast<int8_t>(x));
  return {vreinterpretq_s32_s8(vsubq_s8(vreinterpretq_s8_s32(bytes.low), offset)),
          vreinterpretq_s32_s8(vsubq_s8(vreinterpretq_s8_s32(bytes.high), offset))};
}

// The squares of a group's row pairs, as sums of one token each, a row in a lane.
INFERNODE_INLINE Ints sums_of_first(const Square (&squares)[kRowPairs]) {
  return {first_halves(squares[0], squares[1]), first_halves(squares[2], squares[3])};
}
INFERNODE_INLINE Ints sums_of_second(const Square (&squares)[kRowPairs]) {
  return {last_halves(squares[0], squares[1]), last_halves(squares[2], squares[3])};
}

// 32 values of each row of a group, as they lie in the file, to vectors of two rows: [8 values][kPanelGroups][row pair].
INFERNODE_INLINE void store_row_pairs(const Ints (&rows)[kLanes], size_t g, std::byte* panel) {
#pragma GCC unroll 4
  for (size_t i = 0; i < kRowPairs; i++) {
    const Ints a = rows[2 * i], b = rows[2 * i + 1];
    const int32x4_t vectors[4] = {first_halves(a.low, b.low), last_halves(a.low, b.low), first_halves(a.high, b.high),
                                  last_halves(a.high, b.high)};
#pragma GCC unroll 4
    for (size_t j = 0; j < 4; j++) store_vector(panel + ((j * kPanelGroups + g) * kRowPairs + i) * kVectorBytes, vectors[j]);
  }
}

// squares[pair][row pair] += products of 16 values: of two tokens each, whose values lie at x[2 * pair] and x[2 * pair + 1],
// and of the rows of a group, whose vectors start at `rows`.
template <size_t kPairs>
INFERNODE_INLINE void add_16(const int8_t* const (&x)[2 * kPairs], size_t k, const std::byte* rows,
                             Square (&squares)[kPairs][kRowPairs]) {
  int32x4_t tokens[2][kPairs];
#pragma GCC unroll 4
  for (size_t p = 0; p < kPairs; p++) {
    const int32x4_t a = load_vector(x[2 * p] + k), b = load_vector(x[2 * p + 1] + k);
    tokens[0][p] = first_halves(a, b), tokens[1][p] = last_halves(a, b);
  }
#pragma GCC unroll 2
  for (size_t half = 0; half < 2; half++)
#pragma GCC unroll 4
    for (size_t i = 0; i < kRowPairs; i++) {
      const int32x4_t two_rows = load_vector(rows + (half * kPanelGroups * kRowPairs + i) * kVectorBytes);
#pragma GCC unroll 4
      for (size_t p = 0; p < kPairs; p++) squares[p][i] = add_products(squares[p][i], tokens[half][p], two_rows);
    }
}

// The tokens of kPairs pairs. A last one without a partner is its own: both get the same sums.
template <size_t kPairs>
struct PairedTokens {
  size_t index[2 * kPairs];

  INFERNODE_INLINE PairedTokens(size_t first_pair, size_t n_tokens) {
#pragma GCC unroll 8
    for (size_t i = 0; i < 2 * kPairs; i++) index[i] = 2 * first_pair + i < n_tokens ? 2 * first_pair + i : n_tokens - 1;
  }
};

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
