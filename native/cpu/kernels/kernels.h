// What a cpu kernel is given, and the table of functions that one ISA variant provides.
// Kernel files are compiled once per ISA: only plain structs and <cstddef>/<cstdint> here, so that no inline function of one
// variant can be linked into another.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/kernels/tensor_kernels.h"
#include "generated/ops.h"
#include "generated/tensor_types.h"

namespace infernode::cpu {

// A half-open range of work items.
struct Range {
  size_t begin, end;
};

// A matrix of activations: `n` rows of `width` values, `stride` bytes apart (a multiple of 64). data == nullptr: absent.
struct Rows {
  std::byte* data = nullptr;
  size_t stride = 0;
  size_t n = 0;
  size_t width = 0;
  TensorType type = TensorType::kF32;
};

// One expert's matrix of a stack of equal ones.
struct ExpertMatrix {
  const std::byte* data;
  size_t readable_after;  // as in Weight
};

// A matrix of weights as the file has it: [rows, cols], row-major, `row_bytes` apart, any alignment.
// Vectors (norm weights, biases, frequencies) are always f32, 64-byte aligned. data == nullptr: absent.
struct Weight {
  const std::byte* data = nullptr;
  size_t rows = 0;
  size_t cols = 0;
  size_t row_bytes = 0;
  TensorType type = TensorType::kF32;
  size_t readable_after = 0;  // bytes past the matrix that may be read (not used): prefetch and full-width loads
  TensorType activations = TensorType::kF32;  // what products with this type read
  // A stack of matrices [n_experts][rows, cols], each where the file has it; `data` is the first one's. nullptr: one matrix.
  const ExpertMatrix* experts = nullptr;
  size_t n_experts = 0;
};

// The paged KV cache. A page holds kPagePositions positions of the layers of one group: for each layer (slot) and KV head, K then V.
inline constexpr size_t kPagePositions = 64;
struct KvCacheView {
  std::byte* pool = nullptr;
  size_t page_bytes = 0;
  size_t slot_bytes = 0;               // one layer's share of a page: n_kv_heads * (k bytes + v bytes), see kv_layout.h
  TensorType type = TensorType::kF16;  // f32, f16, bf16 or q8_0
  size_t n_kv_heads = 0;
  size_t head_dim = 0;
  const uint32_t* layer_group = nullptr;  // [layer] index of the block table
  const uint32_t* layer_slot = nullptr;   // [layer] place in the page
};

// One sequence's part of a step: rows [first_row, first_row + n_rows) of the batch, at positions start, start + 1, …
struct KvSequence {
  size_t first_row = 0;
  size_t n_rows = 0;
  size_t start = 0;
  const int32_t* const* pages = nullptr;  // [group][position / kPagePositions] → page, or -1 where the window gave it back
  size_t longest = 0;                     // positions that it may come to have, as was said when it began
};

// What a step runs over, beside its values.
struct Batch {
  const int32_t* tokens = nullptr;       // [n_tokens]
  const int32_t* positions = nullptr;    // [n_tokens]
  const int32_t* output_rows = nullptr;  // [n_outputs] row of the batch
  size_t n_tokens = 0;
  size_t n_outputs = 0;
  const KvSequence* sequences = nullptr;
  size_t n_sequences = 0;
  KvCacheView cache;
  // How many threads share the items out. Kernels may cut work into more items for more threads, never change a result.
  size_t n_threads = 1;
  // The running op's workspace: Kernel::shared_bytes bytes, 64-byte aligned, contents arbitrary, the same for all threads.
  std::byte* shared = nullptr;
};

// The most that any kernel asks of Batch::shared, so that it can be reserved when a model is loaded.
inline constexpr size_t kMaxSharedBytes = size_t{16} << 20;

// An op's arithmetic. Work is cut into independent items: any partition over threads, in any order, gives the same bits.
// The executor, per op: items, scratch_bytes, shared_bytes and merge_items are asked once, with n_threads set; Batch::shared is
// pointed at the workspace; threads run all items; barrier; if merge_items says more than 0, threads merge all of these; barrier.
template <class Op>
struct Kernel {
  size_t (*items)(const Op&, const Batch&);
  // Bytes of scratch that each thread needs; 64-byte aligned, contents arbitrary. May be nullptr: none.
  size_t (*scratch_bytes)(const Op&, const Batch&);
  void (*run)(const Op&, const Batch&, Range items, std::byte* scratch);
  // Bytes of Batch::shared, which is kept from run to merge. May be nullptr: none.
  size_t (*shared_bytes)(const Op&, const Batch&) = nullptr;
  // Second phase after all items are done (attention merges its chunks, `linear` multiplies by what was laid out); may be nullptr.
  size_t (*merge_items)(const Op&, const Batch&) = nullptr;
  void (*merge)(const Op&, const Batch&, Range items, std::byte* scratch) = nullptr;
  // Whether all items are the same amount of work, much of it reading what lies side by side.
  bool even = false;
};

// What the sampler and `score` read of a row of logits.
struct RowMax {
  float value;
  uint32_t index;  // the lowest index that has this value
};

struct KernelTable {
  const char* isa;
#define INFERNODE_OP(Struct, name) Kernel<ops::Struct<Rows, Weight>> name;
  INFERNODE_OPS(INFERNODE_OP)
#undef INFERNODE_OP
  // out[cols] = row `row` of the weights, dequantized.
  void (*dequantize)(const Weight&, size_t row, float* out);
  // The n / block_values blocks of n finite values, the same bytes on every variant. Types that cannot be encoded (quant::can_encode)
  // write nothing. Values too large for a type's scale decode to infinity or NaN.
  void (*encode)(TensorType, const float* x, size_t n, std::byte* to);
  RowMax (*row_max)(const float* x, size_t n);
  // Σ exp(x[i] - max), summed in f64 by a fixed tree; NaN if any x is NaN.
  double (*exp_sum)(const float* x, size_t n, float max);
  // Limits of this machine, for `bench`: reads n bytes (returns something that depends on all), does n multiply-adds of int8, or of
  // bf16 weights as this variant multiplies them.
  uint64_t (*read_probe)(const std::byte* data, size_t n);
  uint64_t (*int8_probe)(uint64_t multiply_adds);
  uint64_t (*bf16_probe)(uint64_t multiply_adds);
  TensorKernels tensor;
};

}  // namespace infernode::cpu
