// Normalizations, written as f32 or quantized on the way. Compiled once per folder of native/cpu/isa, as namespace
// INFERNODE_ISA.
#include "cpu/kernels/kernels_of_isa.h"
#include "cpu/kernels/math.h"
#include "cpu/kernels/quantize_row.h"
#include "cpu/kernels/rows.h"
#include "simd.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

// Over x by the fixed tree: partial = step(value, partial) for each vector; `first_lanes` of the last one hold values, the others
// zeros.
template <class Step>
INFERNODE_INLINE float reduce(const float* x, size_t n, Step&& step) {
  F32 partial[kSumVectors];
  for (F32& p : partial) p = F32::zero();
  size_t i = 0;
  for (; i + kPartialSums <= n; i += kPartialSums)
    for (size_t v = 0; v < kSumVectors; v++) partial[v] = step(load(x + i + v * F32::lanes), F32::lanes, partial[v]);
  for (size_t v = 0; i < n; i += F32::lanes, v++) partial[v] = step(load(x + i, n - i), n - i, partial[v]);
  return fold_sum(partial);
}

float sum_of_squares(const float* x, size_t n) {
  return reduce(x, n, [](F32 value, size_t, F32 sum) { return fma(value, value, sum); });
}

// out[d] = x[d] / √(mean(x²) + eps) · weight[d]; out may be x. arXiv:1910.07467 eq. 4.
void normalize(const float* x, const float* weight, float* out, size_t n, float eps) {
  const F32 scale = F32::all(1.0f / square_root(sum_of_squares(x, n) / static_cast<float>(n) + eps));
  for (size_t i = 0; i < n; i += F32::lanes) store(out + i, load(x + i, n - i) * scale * load(weight + i, n - i), n - i);
}

// out[d] = (x[d] - mean) / √(variance + eps) · weight[d] + bias[d]; out may be x, bias may be absent. arXiv:1607.06450 eq. 3.
void center(const float* x, const float* weight, const float* bias, float* out, size_t n, float eps) {
  const float count = static_cast<float>(n);
  const F32 mean = F32::all(reduce(x, n, [](F32 value, size_t, F32 sum) { return sum + value; }) / count);
  const float squares = reduce(x, n, [&](F32 value, size_t there, F32 sum) {
    const F32 apart = select(first_lanes(there), value - mean, F32::zero());
    return fma(apart, apart, sum);
  });
  const F32 scale = F32::all(1.0f / square_root(squares / count + eps));
  for (size_t i = 0; i < n; i += F32::lanes) {
    const F32 y = (load(x + i, n - i) - mean) * scale * load(weight + i, n - i);
    store(out + i, bias ? y + load(bias + i, n - i) : y, n - i);
  }
}

// The output that is f32, if any: it serves as the normalized row that the quantized outputs are made from.
template <class Op>
const Rows* f32_output(const Op& op) {
  for (const Rows& out : op.out)
    if (out.type == TensorType::kF32) return &out;
  return nullptr;
}

// Calls norm(row of x, normalized row) for each item and writes the outputs of every type.
template <class Op, class Norm>
INFERNODE_INLINE void for_rows(const Op& op, Range items, std::byte* scratch, Norm&& norm) {
  const Rows* f32_out = f32_output(op);
  for (size_t row = items.begin; row < items.end; row++) {
    float* normalized = f32_out ? f32_row(*f32_out, row) : reinterpret_cast<float*>(scratch);
    norm(f32_row(op.x, row), normalized);
    for (const Rows& out : op.out)
      if (out.type != TensorType::kF32) quantize_row(normalized, out, row, 0, op.x.width);
  }
}

template <class Op>
size_t scratch_of(const Op& op) {
  return f32_output(op) ? 0 : op.x.width * sizeof(float);
}

const float* vector_of(const Weight& weight) { return reinterpret_cast<const float*>(weight.data); }

}  // namespace

size_t items(const ops::RmsNorm<Rows, Weight>& op, const Batch&) { return op.x.n; }
size_t scratch_bytes(const ops::RmsNorm<Rows, Weight>& op, const Batch&) { return scratch_of(op); }
void run(const ops::RmsNorm<Rows, Weight>& op, const Batch&, Range items, std::byte* scratch) {
  const size_t width = op.x.width, group = op.weight.cols;  // a row may hold several groups: the heads of q, for example
  for_rows(op, items, scratch, [&](const float* x, float* out) {
    for (size_t i = 0; i < width; i += group) normalize(x + i, vector_of(op.weight), out + i, group, op.eps);
  });
}

size_t items(const ops::LayerNorm<Rows, Weight>& op, const Batch&) { return op.x.n; }
size_t scratch_bytes(const ops::LayerNorm<Rows, Weight>& op, const Batch&) { return scratch_of(op); }
void run(const ops::LayerNorm<Rows, Weight>& op, const Batch&, Range items, std::byte* scratch) {
  for_rows(op, items, scratch, [&](const float* x, float* out) {
    center(x, vector_of(op.weight), vector_of(op.bias), out, op.x.width, op.eps);
  });
}

}  // namespace infernode::cpu::INFERNODE_ISA
