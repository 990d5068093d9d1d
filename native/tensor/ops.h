// The ops of Tensor: each adds its phases to a job and gives the view of its result. They check what would harm memory; wording
// mistakes for people is the business of src/tensor.
#pragma once

#include <vector>

#include "cpu/kernels/kernels.h"
#include "tensor/job.h"
#include "tensor/view.h"

namespace infernode::tensor {

struct Maker {
  const cpu::KernelTable& kernels;
  std::shared_ptr<Job> job;
  const cpu::TensorKernels& runs() const { return kernels.tensor; }
};

// ---- convert.cc
// Adds the phase that writes `from` (any strides, any type) to `to` (contiguous, same shape, plain type). Shapes are equal.
void add_copy(const Maker& make, const View& from, const View& to);
// A contiguous copy of the values in the type: casts, decodes and encodes blocks.
Result<View> convert(const Maker& make, const View& x, TensorType type);
// x itself if it is f32 with dense rows, else a copy that is.
Result<View> as_f32_rows(const Maker& make, const View& x);
// x itself if it is contiguous and of the type, else a copy that is.
Result<View> as_contiguous(const Maker& make, const View& x, TensorType type);

// ---- elementwise.cc
Result<View> unary(const Maker& make, cpu::Unary op, const View& x);
// a and b have one type; their shapes broadcast.
Result<View> binary(const Maker& make, cpu::Binary op, const View& a, const View& b);
// condition ? a : b. The condition is bool; shapes broadcast.
Result<View> where(const Maker& make, const View& condition, const View& a, const View& b);

// ---- reduce.cc
// Over the last n dimensions.
Result<View> reduce(const Maker& make, cpu::Reduction op, const View& x, size_t n);
// Over the last dimension.
Result<View> softmax(const Maker& make, const View& x);
struct TopK {
  View values, indices;
};
// The k largest of the last dimension, largest first; equal ones by index, NaN last.
Result<TopK> top_k(const Maker& make, const View& x, size_t k);

// ---- matmul.cc
// a [..., M, K], b [..., K, N], or [..., N, K] if transpose_b: f32 [..., M, N].
Result<View> matmul(const Maker& make, const View& a, const View& b, bool transpose_b);
// a [M, K] i8 or u8, b [N, K] i8 or u8: scale_a · scale_b[n] · Σ (a − zero_a)(b − zero_b[n]), as f32; without scale_b the i32
// sums. scale_b, zero_b: contiguous f32 and i32 of one value or N, or without storage.
struct Int8Scales {
  float scale_a = 1;
  int32_t zero_a = 0;
  View scale_b, zero_b;
};
Result<View> int8_matmul(const Maker& make, const View& a, const View& b, const Int8Scales& scales);

// ---- layers.cc
// Over the last dimension; weight [D] f32, or without storage.
Result<View> rms_norm(const Maker& make, const View& x, const View& weight, float eps);
// weight and bias [D], each or neither.
Result<View> layer_norm(const Maker& make, const View& x, const View& weight, const View& bias, float eps);
// x [..., T, H, E], positions [T] or broadcasting to [..., T] i32, frequencies [n <= E/2] f32.
Result<View> rope(const Maker& make, const View& x, const View& positions, const View& frequencies, float scale,
                  bool interleaved);
// table [V, D] of any type, ids i32: [...ids, D] f32.
Result<View> embedding(const Maker& make, const View& table, const View& ids);

// ---- attention.cc
struct AttentionOptions {
  float scale = 1;
  bool causal = true;
  size_t window = 0;            // 0: none
  float softcap = 0;            // 0: none
  std::vector<size_t> lengths;  // keys of each sequence, from the first; empty: all
  View mask;                    // [B, H, T, S] bool or float, or without storage
};
// q [B, T, H, E], k and v [B, S, K, E]: [B, T, H, E] f32. The last query of a sequence is at its last key.
Result<View> attention(const Maker& make, const View& q, const View& k, const View& v, const AttentionOptions& options);

// ---- create.cc
enum class Fill { kFull, kRange, kUniform, kNormal };
// Values of a plain type: full: first; range: first + i · second; uniform: in [first, second); normal: mean first, deviation
// second. Random values are functions of (seed, index).
Result<View> create(const Maker& make, TensorType type, const size_t* shape, size_t rank, Fill fill, double first,
                    double second, uint64_t seed);

}  // namespace infernode::tensor
