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

INFERNODE_INLINE uint16_t load_u16(const std::byte* p) {
  uint16_t x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
