// The rows of a weight matrix that a vector tile handles at once, one per lane.
#pragma once

#include "cpu/isa/simd_types.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

struct RowGroup {
  const std::byte* first = nullptr;
  size_t row_bytes = 0;
  size_t last = 0;  // index of the last row; lanes past it repeat it, and their results are dropped

  // kFull: the group has a row for every lane.
  template <bool kFull>
  INFERNODE_INLINE const std::byte* at(size_t lane) const {
    return first + (kFull || lane < last ? lane : last) * row_bytes;
  }
};

// The 16-bit words at `offset` of four rows, the first one lowest.
template <bool kFull>
INFERNODE_INLINE long long four_halves(const RowGroup& rows, size_t lane, size_t offset) {
  uint64_t four = 0;
#pragma GCC unroll 4
  for (size_t i = 0; i < 4; i++) {
    uint16_t half;
    __builtin_memcpy(&half, rows.at<kFull>(lane + i) + offset, sizeof half);
    four |= static_cast<uint64_t>(half) << (16 * i);
  }
  return static_cast<long long>(four);
}

// The 32-bit words at `offset` of two rows.
template <bool kFull>
INFERNODE_INLINE long long two_words(const RowGroup& rows, size_t lane, size_t offset) {
  uint32_t low, high;
  __builtin_memcpy(&low, rows.at<kFull>(lane) + offset, sizeof low);
  __builtin_memcpy(&high, rows.at<kFull>(lane + 1) + offset, sizeof high);
  return static_cast<long long>(low | static_cast<uint64_t>(high) << 32);
}
// The bytes at `offset` of eight rows.
template <bool kFull>
INFERNODE_INLINE long long eight_bytes(const RowGroup& rows, size_t lane, size_t offset) {
  uint64_t eight = 0;
#pragma GCC unroll 8
  for (size_t i = 0; i < 8; i++) eight |= static_cast<uint64_t>(rows.at<kFull>(lane + i)[offset]) << (8 * i);
  return static_cast<long long>(eight);
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
