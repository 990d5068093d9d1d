// Normalizations, written as f32 or quantized on the way. Compiled once per folder of native/cpu/isa, as namespace
// INFERNODE_ISA.
#include "cpu/kernels/kernels_of_isa.h"
#include "cpu/kernels/math.h"
#include "cpu/kernels/quantize_row.h"
#include "cpu/kernels/rows.h"
#include "simd.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

using Op = ops::RmsNorm<Rows, Weight>;

float sum_of_squares(const float* x, size_t n) {
  F32 partial[kSumVectors];
  for (F32& p : partial) p = F32::zero();
  size_t i = 0;
  for (; i + kPartialSums <= n; i += kPartialSums)
    for (size_t v = 0; v < kSumVectors; v++) {
      const F32 value = load(x + i + v * F32::lanes);
      partial[v] = fma(value, value, partial[v]);
    }
  for (size_t v = 0; i < n; i += F32::lanes, v++) {
    const F32 value = load(x + i, n - i);  // lanes past n are zero and add nothing
    partial[v] = fma(value, value, partial[v]);
  }
  return fold_sum(partial);
}

// out[d] = x[d] / √(mean(x²) + eps) · weight[d]; out may be x. arXiv:1910.07467 eq. 4.
void normalize(const float* x, const float* weight, float* out, size_t n, float eps) {
  const F32 scale = F32::all(1.0f / square_root(sum_of_squares(x, n) / static_cast<float>(n) + eps));
  for (size_t i = 0; i < n; i += F32::lanes) store(out + i, load(x + i, n - i) * scale * load(weight + i, n - i), n - i);
}

// The output that is f32, if any: it serves as the normalized row that the quantized outputs are made from.
const Rows* f32_output(const Op& op) {
  for (const Rows& out : op.out)
    if (out.type == TensorType::kF32) return &out;
  return nullptr;
}

}  // namespace

size_t items(const Op& op, const Batch&) { return op.x.n; }

size_t scratch_bytes(const Op& op, const Batch&) { return f32_output(op) ? 0 : op.x.width * sizeof(float); }

void run(const Op& op, const Batch&, Range items, std::byte* scratch) {
  const size_t width = op.x.width, group = op.weight.cols;  // a row may hold several groups: the heads of q, for example
  const float* weight = reinterpret_cast<const float*>(op.weight.data);
  const Rows* f32_out = f32_output(op);
  for (size_t row = items.begin; row < items.end; row++) {
    const float* x = f32_row(op.x, row);
    float* normalized = f32_out ? f32_row(*f32_out, row) : reinterpret_cast<float*>(scratch);
    for (size_t i = 0; i < width; i += group) normalize(x + i, weight, normalized + i, group, op.eps);
    for (const Rows& out : op.out)
      if (out.type != TensorType::kF32) quantize_row(normalized, out, row, 0, width);
  }
}

}  // namespace infernode::cpu::INFERNODE_ISA
