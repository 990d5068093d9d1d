// The op `linear`: products of activations with one or more weight matrices, then bias, residual and gate.
// Work is cut into items of 32 weight rows, for all tokens. `multiply` (of the variant) computes an item's sums under the
// contract of the weight's type; what follows is elementwise, so any partition of the items gives the same bits.
#include "cpu/kernels/activation_functions.h"
#include "cpu/kernels/kernels_of_isa.h"
#include "cpu/kernels/product.h"
#include "cpu/kernels/rows.h"
#include "multiply_isa.h"
#include "simd.h"
#ifdef INFERNODE_BASE  // whose products of matrices the variant has, but for bf16, which it may add up in another order
#pragma push_macro("INFERNODE_ISA")
#undef INFERNODE_ISA
#define INFERNODE_ISA INFERNODE_BASE
#include "cpu/kernels/tensor_kernels_of_isa.h"
#pragma pop_macro("INFERNODE_ISA")
#define INFERNODE_PRODUCTS INFERNODE_BASE
constexpr bool kPacksBf16 = false;
#else
#include "cpu/kernels/tensor_kernels_of_isa.h"
#define INFERNODE_PRODUCTS INFERNODE_ISA
constexpr bool kPacksBf16 = true;
#endif

namespace infernode::cpu::INFERNODE_ISA {
namespace {

using Linear = ops::Linear<Rows, Weight>;

INFERNODE_INLINE bool gated(const Linear& op) {
  return op.epilogue == ops::Epilogue::kSwiglu || op.epilogue == ops::Epilogue::kGeglu;
}
INFERNODE_INLINE size_t items_of(const Weight& weight) { return (weight.rows + kItemRows - 1) / kItemRows; }

// The activations that a weight type reads: as the column `activations` of the tensor types' table, which would cost the
// kernels a symbol shared between variants.
constexpr TensorType activations_of(TensorType weight) {
  switch (weight) {
    case TensorType::kQ4_0:
    case TensorType::kQ4_1:
    case TensorType::kQ5_0:
    case TensorType::kQ5_1:
    case TensorType::kQ8_0:
    case TensorType::kIq4_Nl:
    case TensorType::kMxfp4: return TensorType::kA8_32;
    case TensorType::kQ2_K:
    case TensorType::kQ3_K:
    case TensorType::kQ4_K:
    case TensorType::kQ5_K:
    case TensorType::kQ6_K:
    case TensorType::kIq4_Xs: return TensorType::kA8_256;
    default: return TensorType::kF32;
  }
}
consteval bool agrees_with_table() {
  for (size_t i = 0; i < static_cast<size_t>(TensorType::kA8_32); i++) {
    const TensorType type = static_cast<TensorType>(i);
    const bool integer = type >= TensorType::kI32 && type <= TensorType::kBool;
    if (!integer && activations_of(type) != info(type).activations) return false;
  }
  return true;
}
static_assert(agrees_with_table());

// x lists the input once per activation type; a plan in which one is missing is refused before it runs.
const Rows& input_for(const Linear& op, const Weight& weight) {
  for (const Rows& x : op.x)
    if (x.type == activations_of(weight.type)) return x;
  return op.x[0];
}

// What an item's sums become.
struct Target {
  const Rows& out;
  size_t row, n_rows;  // weight rows, so columns of out
};

const float* bias_of(const Linear& op, uint32_t i) {
  return i < op.bias.n ? reinterpret_cast<const float*>(op.bias[i].data) : nullptr;
}

// Calls f(token, column of out, sums, lanes there) for every vector of an item.
template <class F>
INFERNODE_INLINE void for_outputs(const Target& target, F&& f) {
  for (size_t t = 0; t < target.out.n; t++)
    for (size_t r = 0; r < target.n_rows; r += F32::lanes) f(t, r, target.n_rows - r);
}

INFERNODE_INLINE F32 with_bias(F32 sum, const float* bias, size_t row, size_t n) {
  return bias ? sum + load(bias + row, n) : sum;
}

void finish(const Linear& op, uint32_t i, const Target& target, const float* sums) {
  const float* bias = bias_of(op, i);
  const bool add = op.epilogue == ops::Epilogue::kAdd && i == 0;
  for_outputs(target, [&](size_t t, size_t r, size_t n) {
    F32 y = with_bias(load(sums + t * kItemRows + r), bias, target.row + r, n);
    if (add) y = y + load(f32_row(op.residual, t) + target.row + r, n);
    store(f32_row(target.out, t) + target.row + r, y, n);
  });
}

void finish_gated(const Linear& op, const Target& target, const float* gate_sums, const float* up_sums) {
  const float *gate_bias = bias_of(op, 0), *up_bias = bias_of(op, 1);
  for_outputs(target, [&](size_t t, size_t r, size_t n) {
    const F32 gate = with_bias(load(gate_sums + t * kItemRows + r), gate_bias, target.row + r, n);
    const F32 up = with_bias(load(up_sums + t * kItemRows + r), up_bias, target.row + r, n);
    store(f32_row(target.out, t) + target.row + r, (op.epilogue == ops::Epilogue::kSwiglu ? silu(gate) : gelu_tanh(gate)) * up,
          n);
  });
}

// ---- weights of floats and many tokens: the first phase lays x out once for all items, in the workspace, as Tensor's products do it;
// the second one multiplies. Same bits.

namespace products = infernode::cpu::INFERNODE_PRODUCTS;

constexpr size_t kMultipliedTokens = 16;  // so many and fewer are multiplied as they lie

// The rows of an item and what they are multiplied with.
MatrixProduct product_of(const Linear& op, const Weight& weight, size_t row, size_t n_rows, float* sums) {
  const Rows& x = input_for(op, weight);
  MatrixProduct p;
  p.m = op.out[0].n, p.n = n_rows, p.k = weight.cols;
  p.a = x.data, p.a_stride = x.stride;
  p.b = weight.data + row * weight.row_bytes, p.b_stride = weight.row_bytes, p.b_type = weight.type;
  p.out = reinterpret_cast<std::byte*>(sums), p.out_stride = kItemRows * sizeof(float);
  return p;
}
size_t packed_bytes(const Linear& op, const Weight& weight) {
  const TensorType type = weight.type;
  const bool packs = type == TensorType::kF32 || type == TensorType::kF16 || (kPacksBf16 && type == TensorType::kBf16);
  return packs ? products::product_packed_bytes(product_of(op, weight, 0, weight.rows, nullptr)) : 0;
}
// Bytes of x laid out; 0 if it is not. Items that run outside of a step have no workspace.
size_t packed_bytes(const Linear& op, const Batch& batch) {
  if (batch.n_tokens == 0 || op.out[0].n <= kMultipliedTokens) return 0;
  const size_t bytes = packed_bytes(op, op.weight[0]);
  for (const Weight& weight : op.weight)
    if (packed_bytes(op, weight) != bytes) return 0;  // in words of another kind
  return bytes <= kMaxSharedBytes ? bytes : 0;
}

size_t items_of(const Linear& op) {
  if (gated(op)) return items_of(op.weight[0]);
  size_t n = 0;
  for (const Weight& weight : op.weight) n += items_of(weight);
  return n;
}

// `multiply`: sums of an item, given weight, row, n_rows and where they go.
template <class Multiply>
void run_items(const Linear& op, Range range, float* sums, Multiply&& multiply) {
  const size_t n_tokens = op.out[0].n;
  if (n_tokens == 0) return;
  size_t first = 0;  // item of the matrix at hand
  for (uint32_t i = 0; i < (gated(op) ? 1 : op.weight.n); i++) {
    const Weight& weight = op.weight[i];
    const size_t n = items_of(weight), begin = larger(range.begin, first), end = smaller(range.end, first + n);
    for (size_t item = begin; item < end; item++) {
      const size_t row = (item - first) * kItemRows;
      const Target target{op.out[i], row, smaller(kItemRows, weight.rows - row)};
      multiply(weight, row, target.n_rows, sums);
      if (gated(op)) {
        float* up_sums = sums + n_tokens * kItemRows;
        multiply(op.weight[1], row, target.n_rows, up_sums);
        finish_gated(op, target, sums, up_sums);
      } else {
        finish(op, i, target, sums);
      }
    }
    first += n;
  }
}

// Of a thread: sums of one item (of two weights if gated) for every token, then what products need.
size_t sums_bytes(const Linear& op) { return op.out[0].n * kItemRows * sizeof(float) * (gated(op) ? 2 : 1); }

}  // namespace

size_t items(const Linear& op, const Batch& batch) {
  return packed_bytes(op, batch) ? products::product_pack_items(product_of(op, op.weight[0], 0, 0, nullptr)) : items_of(op);
}

size_t scratch_bytes(const Linear& op, const Batch&) {
  const Weight& weight = op.weight[0];
  if (!packed_bytes(op, weight)) return sums_bytes(op) + kPanelBytes;
  return sums_bytes(op) + larger(kPanelBytes, products::product_scratch_bytes(product_of(op, weight, 0, 0, nullptr)));
}
size_t shared_bytes(const Linear& op, const Batch& batch) { return packed_bytes(op, batch); }

void run(const Linear& op, const Batch& batch, Range range, std::byte* scratch) {
  std::byte* panel = scratch + sums_bytes(op);
  if (packed_bytes(op, batch))
    return products::product_pack(product_of(op, op.weight[0], 0, 0, nullptr), range.begin, range.end, batch.shared, panel);
  run_items(op, range, reinterpret_cast<float*>(scratch), [&](const Weight& weight, size_t row, size_t n_rows, float* sums) {
    multiply({weight, row, n_rows, input_for(op, weight), sums, panel});
  });
}

size_t merge_items(const Linear& op, const Batch& batch) { return packed_bytes(op, batch) ? items_of(op) : 0; }
void merge(const Linear& op, const Batch& batch, Range range, std::byte* scratch) {
  run_items(op, range, reinterpret_cast<float*>(scratch), [&](const Weight& weight, size_t row, size_t n_rows, float* sums) {
    products::product_run(product_of(op, weight, row, n_rows, sums), 0, 1, batch.shared, scratch + sums_bytes(op));
  });
}

void multiply_rows(const Weight& weight, size_t row, size_t n_rows, const Rows& x, float* sums, std::byte* panel) {
  multiply({weight, row, n_rows, x, sums, panel});
}
size_t panel_bytes() { return round_up(kPanelBytes, 64); }

}  // namespace infernode::cpu::INFERNODE_ISA
