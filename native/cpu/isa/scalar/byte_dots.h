// Products of four bytes at a time, for scores against an int8 cache: the specification that the other variants' byte_dots.h
// follow, name by name.
#pragma once

#include "simd.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

constexpr int kKeyOffset = 0;  // a cached key is stored with this added, as the variant's instruction reads it

// Sums, one for each lane: all(int32_t), to_f32.
using Dots = I32;
// Four bytes for each lane.
struct Quads {
  int8_t bytes[4];
};
INFERNODE_INLINE Quads load_quads(const int8_t* p) { return {{p[0], p[1], p[2], p[3]}}; }

// Lane i: sum + Σ key · q over the four bytes; q is four bytes, the same for all lanes. Exact: no byte is -128.
INFERNODE_INLINE Dots add_dots(Dots sum, Quads keys, int32_t q) {
  int8_t bytes[4];
  __builtin_memcpy(bytes, &q, 4);
  for (size_t i = 0; i < 4; i++) sum.v += keys.bytes[i] * bytes[i];
  return sum;
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
