// Rows of quantized activations: how a8_32 and a8_256 lie in memory, for the kernels that write them and the matmuls that read
// them. A row of K values holds its parts side by side, each at an offset that K alone decides; rows start 64-byte aligned.
//
//   a8_32   K a multiple of 32     int8 values[K] | f32 scales[K/32]  | i32 sums[K/32]   40 bytes per 32 values
//   a8_256  K a multiple of 256    int8 values[K] | f32 scales[K/256] | i16 sums[K/16]  292 bytes per 256 values
//
// A block's scale d is maxabs / 127 and a value is round(x * (1 / d)) to nearest even, within -127..127 (never -128: the sign
// trick of AVX2 needs it). sums[i] is the exact sum of the i-th 32 (a8_32) or 16 (a8_256) values: it repairs weights stored
// with an offset. A block with d below the normal range (zero, too) is all zero with scale 0; NaN or infinity in a block makes
// its scale NaN and its values 0. Included by files that are compiled once per ISA: only static functions, so that no symbol of
// one variant serves another.
#pragma once

#include <cstddef>
#include <cstdint>

namespace infernode {

constexpr size_t kA8_32Block = 32;       // values per scale and per sum
constexpr size_t kA8_256Block = 256;     // values per scale
constexpr size_t kA8_256SumValues = 16;  // values per sum

static constexpr size_t a8_32_scales_offset(size_t k) { return k; }
static constexpr size_t a8_32_sums_offset(size_t k) { return k + k / 32 * sizeof(float); }
static constexpr size_t a8_32_row_bytes(size_t k) { return k + k / 32 * (sizeof(float) + sizeof(int32_t)); }

static constexpr size_t a8_256_scales_offset(size_t k) { return k; }
static constexpr size_t a8_256_sums_offset(size_t k) { return k + k / 256 * sizeof(float); }
static constexpr size_t a8_256_row_bytes(size_t k) { return k + k / 256 * sizeof(float) + k / 16 * sizeof(int16_t); }

static_assert(a8_32_row_bytes(32) == 40 && a8_256_row_bytes(256) == 292, "as src/tensor-types.ts has it");

// The parts of one row, to read.
struct A8_32Row {
  const int8_t* values;
  const float* scales;
  const int32_t* sums;
};
struct A8_256Row {
  const int8_t* values;
  const float* scales;
  const int16_t* sums;
};

// The same, to write.
struct A8_32Out {
  int8_t* values;
  float* scales;
  int32_t* sums;
};
struct A8_256Out {
  int8_t* values;
  float* scales;
  int16_t* sums;
};

// row: the start of a row of k values.
static inline A8_32Row a8_32_row(const std::byte* row, size_t k) {
  return {reinterpret_cast<const int8_t*>(row), reinterpret_cast<const float*>(row + a8_32_scales_offset(k)),
          reinterpret_cast<const int32_t*>(row + a8_32_sums_offset(k))};
}
static inline A8_256Row a8_256_row(const std::byte* row, size_t k) {
  return {reinterpret_cast<const int8_t*>(row), reinterpret_cast<const float*>(row + a8_256_scales_offset(k)),
          reinterpret_cast<const int16_t*>(row + a8_256_sums_offset(k))};
}
static inline A8_32Out a8_32_out(std::byte* row, size_t k) {
  return {reinterpret_cast<int8_t*>(row), reinterpret_cast<float*>(row + a8_32_scales_offset(k)),
          reinterpret_cast<int32_t*>(row + a8_32_sums_offset(k))};
}
static inline A8_256Out a8_256_out(std::byte* row, size_t k) {
  return {reinterpret_cast<int8_t*>(row), reinterpret_cast<float*>(row + a8_256_scales_offset(k)),
          reinterpret_cast<int16_t*>(row + a8_256_sums_offset(k))};
}

}  // namespace infernode
