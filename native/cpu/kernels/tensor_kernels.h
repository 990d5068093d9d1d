// Kernels that only Tensor needs: runs of values, one after another in memory, that native/tensor cuts shapes and strides into.
// What models compute, Tensor computes with the models' kernels (kernels.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "generated/tensor_types.h"

namespace infernode::cpu {

// X(enumerator, name in JavaScript)
#define INFERNODE_UNARY(X) \
  X(kNeg, neg)             \
  X(kAbs, abs)             \
  X(kSqrt, sqrt)           \
  X(kExp, exp)             \
  X(kLog, log)             \
  X(kTanh, tanh)           \
  X(kSigmoid, sigmoid)     \
  X(kRelu, relu)           \
  X(kSquare, square)       \
  X(kReciprocal, reciprocal) \
  X(kSilu, silu)           \
  X(kGelu, gelu)           \
  X(kGeluTanh, geluTanh)

// X(enumerator, name in JavaScript). Comparisons give 1 or 0, and false where either is NaN (notEqual: true).
#define INFERNODE_BINARY(X)        \
  X(kAdd, add)                     \
  X(kSub, sub)                     \
  X(kMul, mul)                     \
  X(kDiv, div)                     \
  X(kPow, pow)                     \
  X(kMinimum, minimum)             \
  X(kMaximum, maximum)             \
  X(kSwiglu, swiglu)               \
  X(kEqual, equal)                 \
  X(kNotEqual, notEqual)           \
  X(kLess, less)                   \
  X(kLessEqual, lessEqual)         \
  X(kGreater, greater)             \
  X(kGreaterEqual, greaterEqual)

#define INFERNODE_ENUMERATOR(enumerator, name) enumerator,
enum class Unary : uint8_t { INFERNODE_UNARY(INFERNODE_ENUMERATOR) };
enum class Binary : uint8_t { INFERNODE_BINARY(INFERNODE_ENUMERATOR) };
#undef INFERNODE_ENUMERATOR

inline constexpr bool compares(Binary op) { return op >= Binary::kEqual; }

// X(enumerator, name in JavaScript)
#define INFERNODE_REDUCTIONS(X) X(kSum, sum) X(kMean, mean) X(kMax, max) X(kMin, min) X(kArgmax, argmax) X(kArgmin, argmin)
#define INFERNODE_ENUMERATOR(enumerator, name) enumerator,
enum class Reduction : uint8_t { INFERNODE_REDUCTIONS(INFERNODE_ENUMERATOR) };
#undef INFERNODE_ENUMERATOR

// An operand of a run: n values, or one for all of them.
template <class T>
struct Operand {
  const T* data;
  bool one;
};

// What a row of values comes to, and the lowest index of that value (max and min).
struct Extreme {
  float value;
  uint32_t index;
};

// out = a · bᵀ for a chunk of a's rows: f32 times floats (out is f32), or i8 and u8 with each other (i32, or f32 with scale_b).
struct MatrixProduct {
  size_t m = 0, n = 0, k = 0;
  const std::byte* a = nullptr;  // [m][k], rows a_stride bytes apart
  size_t a_stride = 0;
  TensorType a_type = TensorType::kF32;
  const std::byte* b = nullptr;  // [n][k], rows b_stride bytes apart; floats may be b_turned: [k][n]
  size_t b_stride = 0;
  TensorType b_type = TensorType::kF32;
  bool b_turned = false;
  std::byte* out = nullptr;  // [m][n]
  size_t out_stride = 0;
  // Of bytes: scale_a · scale_b[j] · Σ (a − zero_a)(b − zero_b[j]). One value for all j, or n.
  float scale_a = 1;
  int32_t zero_a = 0;
  Operand<float> scale_b = {nullptr, true};
  Operand<int32_t> zero_b = {nullptr, true};  // nullptr: 0
};

// Products of many rows: a is laid out once for all of b (pack), then items of columns are computed (run). Both in any partition;
// the sums are those of `linear`, bit for bit, and exact modulo 2^32 for bytes.
struct ProductKernel {
  size_t (*packed_bytes)(const MatrixProduct&);  // grows with m; a multiple of 64
  size_t (*pack_items)(const MatrixProduct&);
  void (*pack)(const MatrixProduct&, size_t begin, size_t end, std::byte* packed, std::byte* scratch);
  size_t (*items)(const MatrixProduct&);
  void (*run)(const MatrixProduct&, size_t begin, size_t end, const std::byte* packed, std::byte* scratch);
  size_t (*scratch_bytes)(const MatrixProduct&);  // of a thread, for both
  bool adds_bf16_as_linear;                       // if not, `linear` has an order of its own for weights of bf16
};

struct TensorKernels {
  // out may be x. NaN stays NaN in every op.
  void (*unary)(Unary op, const float* x, float* out, size_t n);
  // out may be an operand. minimum and maximum are NaN where either is.
  void (*binary)(Binary op, Operand<float> a, Operand<float> b, float* out, size_t n);
  // On integers: add, sub and mul wrap around; minimum, maximum and comparisons. Other ops are not called.
  void (*binary_i32)(Binary op, Operand<int32_t> a, Operand<int32_t> b, int32_t* out, size_t n);
  // n values of f32, f16, bf16, i32, i8, u8 or bool, `stride` elements apart, any alignment, as f32 (i32: rounded to nearest even).
  void (*load)(TensorType type, const std::byte* from, ptrdiff_t stride, size_t n, float* out);
  // … and back. f16, bf16: to nearest even. Integers: towards zero, what does not fit as the nearest that does, NaN as 0. bool: not 0.
  void (*store)(TensorType type, const float* x, size_t n, std::byte* to);
  // The same from and to i32, for integers and bool.
  void (*load_i32)(TensorType type, const std::byte* from, ptrdiff_t stride, size_t n, int32_t* out);
  void (*store_i32)(TensorType type, const int32_t* x, size_t n, std::byte* to);
  // Σ x: 64 partial sums, element i in partial sum i mod 64, folded by halves.
  float (*sum)(const float* x, size_t n);
  // The largest and the smallest value. NaN if there is one; its index is then the first NaN's. n > 0.
  Extreme (*largest)(const float* x, size_t n);
  Extreme (*smallest)(const float* x, size_t n);
  // out[i] = exp(x[i] - max x) / Σ exp(x - max x); out may be x. NaN everywhere if any x is NaN or all are -infinity.
  void (*softmax)(const float* x, float* out, size_t n);
  ProductKernel product;
  // n multiply-adds of f32 in registers, for `bench`.
  float (*f32_probe)(uint64_t multiply_adds);
};

}  // namespace infernode::cpu
