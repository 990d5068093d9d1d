// The functions of one ISA variant behind TensorKernels.
// No #pragma once: table.cc includes it for a variant and for its base.

#include "cpu/kernels/tensor_kernels.h"

namespace infernode::cpu::INFERNODE_ISA {

// As in TensorKernels.
void tensor_unary(Unary op, const float* x, float* out, size_t n);
void tensor_binary(Binary op, Operand<float> a, Operand<float> b, float* out, size_t n);
void tensor_binary_i32(Binary op, Operand<int32_t> a, Operand<int32_t> b, int32_t* out, size_t n);
void tensor_load(TensorType type, const std::byte* from, ptrdiff_t stride, size_t n, float* out);
void tensor_store(TensorType type, const float* x, size_t n, std::byte* to);
void tensor_load_i32(TensorType type, const std::byte* from, ptrdiff_t stride, size_t n, int32_t* out);
void tensor_store_i32(TensorType type, const int32_t* x, size_t n, std::byte* to);
float tensor_sum(const float* x, size_t n);
Extreme tensor_largest(const float* x, size_t n);
Extreme tensor_smallest(const float* x, size_t n);
void tensor_softmax(const float* x, float* out, size_t n);
size_t product_packed_bytes(const MatrixProduct& p);
size_t product_pack_items(const MatrixProduct& p);
void product_pack(const MatrixProduct& p, size_t begin, size_t end, std::byte* packed, std::byte* scratch);
size_t product_items(const MatrixProduct& p);
void product_run(const MatrixProduct& p, size_t begin, size_t end, const std::byte* packed, std::byte* scratch);
size_t product_scratch_bytes(const MatrixProduct& p);
float f32_probe(uint64_t multiply_adds);

}  // namespace infernode::cpu::INFERNODE_ISA
