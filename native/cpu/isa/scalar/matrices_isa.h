// Products of matrices as a specification: every output alone, in the order of `linear`. Nothing is laid out anew.
#pragma once

#include "cpu/kernels/decode.h"
#include "cpu/kernels/dot_f32.h"
#include "cpu/kernels/product.h"
#include "cpu/kernels/rows.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

constexpr size_t kDecodedValues = 256;

inline size_t packed_bytes(const MatrixProduct&) { return 0; }
inline size_t pack_items(const MatrixProduct&) { return 0; }
inline void pack(const MatrixProduct&, size_t, std::byte*, std::byte*) {}
inline size_t product_scratch(const MatrixProduct&) { return kDecodedValues * sizeof(float); }

// Values first … first + n of row j of b.
inline void decode_row(const MatrixProduct& p, size_t j, size_t first, size_t n, float* out) {
  if (!p.b_turned) return decode_values(p.b_type, p.b + j * p.b_stride, first, n, out);
  for (size_t i = 0; i < n; i++) decode_values(p.b_type, p.b + (first + i) * p.b_stride, j, 1, out + i);
}

inline int32_t byte_at(TensorType type, const std::byte* row, size_t i) {
  return type == TensorType::kU8 ? reinterpret_cast<const uint8_t*>(row)[i] : reinterpret_cast<const int8_t*>(row)[i];
}
inline void multiply_bytes(const MatrixProduct& p, size_t i, size_t j) {
  const uint32_t zero_a = static_cast<uint32_t>(p.zero_a);
  const uint32_t zero_b = p.zero_b.data ? static_cast<uint32_t>(p.zero_b.data[p.zero_b.one ? 0 : j]) : 0;
  uint32_t sum = 0;
  for (size_t k = 0; k < p.k; k++)
    sum += (static_cast<uint32_t>(byte_at(p.a_type, p.a + i * p.a_stride, k)) - zero_a) *
           (static_cast<uint32_t>(byte_at(p.b_type, p.b + j * p.b_stride, k)) - zero_b);
  const int32_t exact = static_cast<int32_t>(sum);
  std::byte* out = p.out + i * p.out_stride + j * 4;
  if (!p.scale_b.data) {
    __builtin_memcpy(out, &exact, 4);
    return;
  }
  const float scaled = static_cast<float>(exact) * (p.scale_a * p.scale_b.data[p.scale_b.one ? 0 : j]);
  __builtin_memcpy(out, &scaled, 4);
}

inline void multiply_matrices(const MatrixProduct& p, size_t item, const std::byte*, std::byte* scratch) {
  float* w = reinterpret_cast<float*>(scratch);
  for (size_t j = item * kItemRows; j < smaller(p.n, (item + 1) * kItemRows); j++) {
    if (p.a_type != TensorType::kF32) {
      for (size_t i = 0; i < p.m; i++) multiply_bytes(p, i, j);
      continue;
    }
    for (size_t k = 0; k < p.k; k += kDecodedValues) {
      const size_t n = smaller(kDecodedValues, p.k - k);
      decode_row(p, j, k, n, w);
      for (size_t i = 0; i < p.m; i++) {
        float& sum = reinterpret_cast<float*>(p.out + i * p.out_stride)[j];
        sum = dot(w, reinterpret_cast<const float*>(p.a + i * p.a_stride) + k, n, k == 0 ? 0.0f : sum);
      }
    }
  }
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
