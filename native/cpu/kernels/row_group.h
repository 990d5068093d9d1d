// The rows of a weight matrix that a vector tile handles at once, one per lane.
#pragma once

#include "cpu/isa/simd_types.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

// To the optimizer, a pointer that it has never seen: what is read near it gets an address with a constant offset. It would
// keep a register per offset otherwise.
template <class T>
INFERNODE_INLINE T* opaque(T* p) {
  asm("" : "+r"(p));
  return p;
}

// As many rows as there are lanes, row_bytes apart. The multiples are kept so that an address is a base and a scaled index:
// compilers would otherwise keep sixteen addresses, and there are not so many registers.
struct RowGroup {
  const std::byte *first, *ninth;
  size_t by_1, by_3, by_5, by_7;

  RowGroup() = default;
  RowGroup(const std::byte* first, size_t row_bytes)
      : first(first), ninth(first + 8 * row_bytes), by_1(row_bytes), by_3(3 * row_bytes), by_5(5 * row_bytes), by_7(7 * row_bytes) {}

  // The same rows from byte `offset` on, for one pass of a loop: its addresses are not kept for the next one.
  INFERNODE_INLINE RowGroup from(size_t offset) const {
    RowGroup rows = *opaque(this);
    rows.first = opaque(rows.first + offset);
    rows.ninth = opaque(rows.ninth + offset);
    return rows;
  }
  INFERNODE_INLINE const std::byte* at(size_t lane) const {
    const std::byte* base = lane < 8 ? first : ninth;
    switch (lane % 8) {
      case 0: return base;
      case 1: return base + by_1;
      case 2: return base + 2 * by_1;
      case 3: return base + by_3;
      case 4: return base + 4 * by_1;
      case 5: return base + by_5;
      case 6: return base + 2 * by_3;
      default: return base + by_7;
    }
  }
};

// What follows is put together in general registers, for which compilers must not know that it goes into a vector: they would
// insert piece by piece there, with a shuffle each.
template <class Piece>
INFERNODE_INLINE uint64_t load_piece(const std::byte* p) {
  Piece piece;
  __builtin_memcpy(&piece, p, sizeof piece);
  uint64_t wide = piece;
  asm("" : "+r"(wide));
  return wide;
}
// The 16-bit words at `offset` of four rows, the first one lowest; one after another where kFewRegisters are left for it.
template <bool kFewRegisters>
INFERNODE_INLINE long long four_halves(const RowGroup& rows, size_t lane, size_t offset) {
  const auto half = [&](size_t i) __attribute__((always_inline)) { return load_piece<uint16_t>(rows.at(lane + i) + offset); };
  uint64_t four;
  if constexpr (kFewRegisters) {
    four = half(3);
#pragma GCC unroll 3
    for (size_t i = 3; i > 0; i--) four = four << 16 | half(i - 1);
  } else {
    four = (half(0) | half(1) << 16) | (half(2) | half(3) << 16) << 32;
  }
  asm("" : "+r"(four));
  return static_cast<long long>(four);
}

// The 32-bit words at `offset` of two rows.
INFERNODE_INLINE long long two_words(const RowGroup& rows, size_t lane, size_t offset) {
  uint64_t two = load_piece<uint32_t>(rows.at(lane) + offset) | load_piece<uint32_t>(rows.at(lane + 1) + offset) << 32;
  asm("" : "+r"(two));
  return static_cast<long long>(two);
}
// The bytes at `offset` of eight rows.
INFERNODE_INLINE long long eight_bytes(const RowGroup& rows, size_t lane, size_t offset) {
  uint64_t eight = 0;
#pragma GCC unroll 8
  for (size_t i = 0; i < 8; i++) eight |= static_cast<uint64_t>(rows.at(lane + i)[offset]) << (8 * i);
  return static_cast<long long>(eight);
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
