// Quantized activations: how blocks of a8_32 and a8_256 lie in memory, for the kernels that write them and the matmuls that read
// them. A row of K values is one block after another (K is a multiple of the block); rows start 64-byte aligned. A block's scale
// and sums lie beside its values, so that a piece of K of many rows touches few cache lines and pages.
//
// A block's scale d is maxabs / 127 and a value is round(x * (1 / d)) to nearest even, within -127..127 (never -128: the sign
// trick of AVX2 needs it). A sum is the exact sum of 32 (a8_32) or 16 (a8_256) values: it repairs weights stored with an offset.
// A block with d below the normal range (zero, too) is all zero with scale 0; NaN or infinity in a block makes its scale NaN and
// its values 0. Included by files that are compiled once per ISA: only static functions, so that no symbol of one variant serves
// another.
#pragma once

#include <cstddef>
#include <cstdint>

namespace infernode {

constexpr size_t kA8_32Block = 32;       // values per scale and per sum
constexpr size_t kA8_256Block = 256;     // values per scale
constexpr size_t kA8_256SumValues = 16;  // values per sum

struct A8_32 {
  int8_t values[kA8_32Block];
  float scale;
  int32_t sum;
};
struct A8_256 {
  int8_t values[kA8_256Block];
  float scale;
  int16_t sums[kA8_256Block / kA8_256SumValues];
};
static_assert(sizeof(A8_32) == 40 && sizeof(A8_256) == 292, "as src/tensor-types.ts has it");

// Bytes of a row of k values.
static constexpr size_t a8_32_row_bytes(size_t k) { return k / kA8_32Block * sizeof(A8_32); }
static constexpr size_t a8_256_row_bytes(size_t k) { return k / kA8_256Block * sizeof(A8_256); }

// The blocks of a row.
static inline const A8_32* a8_32_row(const std::byte* row) { return reinterpret_cast<const A8_32*>(row); }
static inline const A8_256* a8_256_row(const std::byte* row) { return reinterpret_cast<const A8_256*>(row); }

}  // namespace infernode
