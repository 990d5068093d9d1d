// The eight tile registers: matrices of up to 16 rows of 64 bytes, and products of them (Intel SDM vol. 1 ch. 18).
// In assembly, because the compilers' own intrinsics do not all say that memory is read, and because no compiler keeps anything
// of its own in these registers.
#pragma once

#include "cpu/isa/avx512/lanes.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

constexpr size_t kTileRows = 16, kTileBytes = 64;

// What ldtilecfg reads.
struct TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};
static_assert(sizeof(TileShapes) == 64);

// Gives the tiles the shapes of C[tokens, 16] += A[tokens, k] · B[k, 16] for k bytes of values, and zeros them. 0 … 3 are C, 16
// sums in a row. 4 and 5 are A, k bytes of a token in a row. 6 and 7 are B, four bytes of each of 16 weight rows in a row: one
// vector of a panel. Until release_tiles: the thread owes the system 8 KB more at each switch.
INFERNODE_INLINE void configure_tiles(size_t tokens, size_t k) {
  TileShapes shapes;
  for (int tile = 0; tile < 8; tile++) {
    shapes.rows[tile] = static_cast<uint8_t>(tile < 6 ? tokens : k / 4);
    shapes.row_bytes[tile] = static_cast<uint16_t>(tile == 4 || tile == 5 ? k : kTileBytes);
  }
  asm volatile("ldtilecfg %0" : : "m"(shapes));
}
INFERNODE_INLINE void release_tiles() { asm volatile("tilerelease" : : : "memory"); }

template <int kTile>
INFERNODE_INLINE void zero_tile() {
  asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
}
// Rows are `stride` bytes apart.
template <int kTile>
INFERNODE_INLINE void load_tile(const void* p, size_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(p), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
INFERNODE_INLINE void store_tile(void* p, size_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(p), "r"(stride), "i"(kTile) : "memory");
}
// C += A · B, signed bytes, sums exact (modulo 2³²).
template <int kC, int kA, int kB>
INFERNODE_INLINE void add_dots() {
  asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kC), "i"(kA), "i"(kB));
}

// C += A · B, pairs of bf16 in place of four bytes; C is f32.
template <int kC, int kA, int kB>
INFERNODE_INLINE void add_bf16_dots() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kC), "i"(kA), "i"(kB));
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
