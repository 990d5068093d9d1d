// The functions that the kernel files of one ISA variant define and table.cc collects. Overloads, one set per op: the op's type
// picks the function. Each file of cpu/kernels defines the ones of its op family.
// No #pragma once: table.cc includes it for a variant and for its base.

#include "cpu/kernels/kernels.h"

namespace infernode::cpu::INFERNODE_ISA {

extern const KernelTable kernels;

// How many independent items, and what they do.
#define INFERNODE_OP(Struct, name)                              \
  size_t items(const ops::Struct<Rows, Weight>&, const Batch&); \
  void run(const ops::Struct<Rows, Weight>&, const Batch&, Range, std::byte* scratch);
INFERNODE_OPS(INFERNODE_OP)
#undef INFERNODE_OP

// Bytes of scratch per thread, for the ops that need any.
size_t scratch_bytes(const ops::Linear<Rows, Weight>&, const Batch&);
size_t scratch_bytes(const ops::RmsNorm<Rows, Weight>&, const Batch&);
size_t scratch_bytes(const ops::LayerNorm<Rows, Weight>&, const Batch&);
size_t scratch_bytes(const ops::Attention<Rows, Weight>&, const Batch&);
size_t scratch_bytes(const ops::ExpertsSwiglu<Rows, Weight>&, const Batch&);
size_t scratch_bytes(const ops::ExpertsSum<Rows, Weight>&, const Batch&);

// sums[t * kItemRows + r] = x[t] · weight[row + r], see product.h, with panel_bytes() of scratch.
void multiply_rows(const Weight&, size_t row, size_t n_rows, const Rows& x, float* sums, std::byte* panel);
size_t panel_bytes();

// The workspace and second phase of attention and of products with floats.
size_t shared_bytes(const ops::Linear<Rows, Weight>&, const Batch&);
size_t merge_items(const ops::Linear<Rows, Weight>&, const Batch&);
void merge(const ops::Linear<Rows, Weight>&, const Batch&, Range, std::byte* scratch);
size_t shared_bytes(const ops::Attention<Rows, Weight>&, const Batch&);
size_t merge_items(const ops::Attention<Rows, Weight>&, const Batch&);
void merge(const ops::Attention<Rows, Weight>&, const Batch&, Range, std::byte* scratch);

// As in KernelTable.
void dequantize(const Weight&, size_t row, float* out);
void encode(TensorType, const float* x, size_t n, std::byte* to);
RowMax row_max(const float* x, size_t n);
double exp_sum(const float* x, size_t n, float max);
uint64_t read_probe(const std::byte* data, size_t n);
uint64_t int8_probe(uint64_t multiply_adds);
uint64_t bf16_probe(uint64_t multiply_adds);

}  // namespace infernode::cpu::INFERNODE_ISA
