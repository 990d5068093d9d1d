// The rows of a weight matrix that a vector tile handles at once, one per lane.
#pragma once

#include "cpu/isa/simd_types.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

// As many rows as there are lanes, row_bytes apart. The multiples are kept so that an address is a base and a scaled index:
// compilers would otherwise keep sixteen addresses, and there are not so many registers.
struct RowGroup {
  const std::byte* first;
  size_t by_1, by_3, by_5, by_7;

  RowGroup() = default;
  RowGroup(const std::byte* first, size_t row_bytes)
      : first(first), by_1(row_bytes), by_3(3 * row_bytes), by_5(5 * row_bytes), by_7(7 * row_bytes) {}

  INFERNODE_INLINE const std::byte* at(size_t lane) const {
    const std::byte* base = lane < 8 ? first : first + 8 * by_1;
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

// The 16-bit words at `offset` of four rows, the first one lowest.
INFERNODE_INLINE long long four_halves(const RowGroup& rows, size_t lane, size_t offset) {
  uint64_t four = 0;
#pragma GCC unroll 4
  for (size_t i = 0; i < 4; i++) {
    uint16_t half;
    __builtin_memcpy(&half, rows.at(lane + i) + offset, sizeof half);
    four |= static_cast<uint64_t>(half) << (16 * i);
  }
  return static_cast<long long>(four);
}

// The 32-bit words at `offset` of two rows.
INFERNODE_INLINE long long two_words(const RowGroup& rows, size_t lane, size_t offset) {
  uint32_t low, high;
  __builtin_memcpy(&low, rows.at(lane) + offset, sizeof low);
  __builtin_memcpy(&high, rows.at(lane + 1) + offset, sizeof high);
  return static_cast<long long>(low | static_cast<uint64_t>(high) << 32);
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
