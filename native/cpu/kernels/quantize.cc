// Quantizes activations for the matmuls that read int8.
#include "cpu/kernels/kernels_of_isa.h"
#include "cpu/kernels/quantize_row.h"
#include "cpu/kernels/rows.h"

namespace infernode::cpu::INFERNODE_ISA {

using Op = ops::Quantize<Rows, Weight>;

size_t items(const Op& op, const Batch&) { return column_items(op.x); }

void run(const Op& op, const Batch&, Range items, std::byte*) {
  for_columns(op.x, items, [&](size_t row, size_t begin, size_t end) {
    for (const Rows& out : op.out) quantize_row(f32_row(op.x, row), out, row, begin, end);
  });
}

}  // namespace infernode::cpu::INFERNODE_ISA
