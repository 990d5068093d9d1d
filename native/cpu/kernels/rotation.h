// Turns the values of a head, 16 at a time, by a Hadamard matrix before they are stored in 8 bits: a large one is then shared by all
// 16, and does not make the steps of its block coarse. Keys and queries that are turned alike have the same products. QuaRot
// (arXiv:2404.00456) turns whole heads; docs/performance.md has what was measured.
#pragma once

#include "cpu/kernels/rows.h"
#include "simd.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

// Stages of the matrix: it has 16 rows, or 4, or 1, a power of four whose scale, 1 / √rows, is exact.
INFERNODE_INLINE size_t rotation_stages(size_t head_dim) { return head_dim % 16 == 0 ? 4 : head_dim % 4 == 0 ? 2 : 0; }

// Up to 32 values of a head of head_dim, from a multiple of 32 on. out may be x. The same again gives the values back.
//
// A stage adds and subtracts neighbours and puts the sums first, so that index bit 0 becomes the highest one, and the next bit is at
// hand for the next stage. Five such moves bring all of 32 values home.
INFERNODE_INLINE void rotate_32(const float* x, size_t n, size_t head_dim, float* out) {
  constexpr size_t lanes = F32::lanes, vectors = 32 / lanes;
  const size_t stages = rotation_stages(head_dim);
  F32 values[vectors];
  for (size_t i = 0; i < vectors; i++) values[i] = load(x + i * lanes, n > i * lanes ? n - i * lanes : 0);
  const F32 scale = F32::all(stages == 4 ? 0.25f : stages == 2 ? 0.5f : 1);
  for (size_t i = 0; i < vectors; i++) values[i] = values[i] * scale;
#pragma GCC unroll 5
  for (size_t stage = 0; stage < 5; stage++) {
    F32 moved[vectors];
    for (size_t i = 0; i < vectors / 2; i++) {
      F32 even, odd;
      deinterleave(values[2 * i], values[2 * i + 1], even, odd);
      moved[i] = stage < stages ? even + odd : even;
      moved[vectors / 2 + i] = stage < stages ? even - odd : odd;
    }
    for (size_t i = 0; i < vectors; i++) values[i] = moved[i];
  }
  for (size_t i = 0; i < vectors && i * lanes < n; i++) store(out + i * lanes, values[i], n - i * lanes);
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
