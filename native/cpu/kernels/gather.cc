// Rows picked by index: token embeddings, and the rows whose logits are wanted.
#include "cpu/kernels/kernels_of_isa.h"
#include "cpu/kernels/rows.h"
#include "simd.h"

namespace infernode::cpu::INFERNODE_ISA {

// The engine has checked that tokens are rows of the table.
size_t items(const ops::Embedding<Rows, Weight>& op, const Batch&) { return op.out.n; }
void run(const ops::Embedding<Rows, Weight>& op, const Batch& batch, Range items, std::byte*) {
  const F32 scale = F32::all(op.scale);
  for (size_t t = items.begin; t < items.end; t++) {
    float* out = f32_row(op.out, t);
    dequantize(op.table, static_cast<size_t>(batch.tokens[t]), out);
    if (op.scale == 1.0f) continue;
    for (size_t i = 0, n = op.out.width; i < n; i += F32::lanes) store(out + i, load(out + i, n - i) * scale, n - i);
  }
}

// A plan is refused where the table has fewer rows than its contexts have positions.
size_t items(const ops::PositionEmbedding<Rows, Weight>& op, const Batch&) { return op.out.n; }
void run(const ops::PositionEmbedding<Rows, Weight>& op, const Batch& batch, Range items, std::byte*) {
  for (size_t t = items.begin; t < items.end; t++)
    dequantize(op.table, static_cast<size_t>(batch.positions[t]), f32_row(op.out, t));
}

size_t items(const ops::OutputRows<Rows, Weight>& op, const Batch&) { return op.out.n; }
void run(const ops::OutputRows<Rows, Weight>& op, const Batch& batch, Range items, std::byte*) {
  for (size_t i = items.begin; i < items.end; i++)
    __builtin_memcpy(f32_row(op.out, i), f32_row(op.x, static_cast<size_t>(batch.output_rows[i])),
                     op.out.width * sizeof(float));
}

}  // namespace infernode::cpu::INFERNODE_ISA
