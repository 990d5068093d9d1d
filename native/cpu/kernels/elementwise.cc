// Ops that treat every value alone; out may be an input. Bound by memory, but for the exponentials.
#include "cpu/kernels/activation_functions.h"
#include "cpu/kernels/kernels_of_isa.h"
#include "cpu/kernels/rows.h"
#include "simd.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

template <class F>
INFERNODE_INLINE void map(const Rows& x, const Rows& out, Range items, F&& f) {
  for_columns(out, items, [&](size_t row, size_t begin, size_t end) {
    const float* from = f32_row(x, row);
    float* to = f32_row(out, row);
    for (size_t i = begin; i < end; i += F32::lanes) store(to + i, f(load(from + i, end - i)), end - i);
  });
}

template <class F>
INFERNODE_INLINE void map(const Rows& a, const Rows& b, const Rows& out, Range items, F&& f) {
  for_columns(out, items, [&](size_t row, size_t begin, size_t end) {
    const float *left = f32_row(a, row), *right = f32_row(b, row);
    float* to = f32_row(out, row);
    for (size_t i = begin; i < end; i += F32::lanes)
      store(to + i, f(load(left + i, end - i), load(right + i, end - i)), end - i);
  });
}

}  // namespace

size_t items(const ops::Add<Rows, Weight>& op, const Batch&) { return column_items(op.out); }
void run(const ops::Add<Rows, Weight>& op, const Batch&, Range items, std::byte*) {
  map(op.a, op.b, op.out, items, [](F32 a, F32 b) { return a + b; });
}

size_t items(const ops::Mul<Rows, Weight>& op, const Batch&) { return column_items(op.out); }
void run(const ops::Mul<Rows, Weight>& op, const Batch&, Range items, std::byte*) {
  map(op.a, op.b, op.out, items, [](F32 a, F32 b) { return a * b; });
}

size_t items(const ops::Swiglu<Rows, Weight>& op, const Batch&) { return column_items(op.out); }
void run(const ops::Swiglu<Rows, Weight>& op, const Batch&, Range items, std::byte*) {
  map(op.gate, op.up, op.out, items, [](F32 gate, F32 up) { return silu(gate) * up; });
}

size_t items(const ops::Geglu<Rows, Weight>& op, const Batch&) { return column_items(op.out); }
void run(const ops::Geglu<Rows, Weight>& op, const Batch&, Range items, std::byte*) {
  map(op.gate, op.up, op.out, items, [](F32 gate, F32 up) { return gelu_tanh(gate) * up; });
}

size_t items(const ops::Silu<Rows, Weight>& op, const Batch&) { return column_items(op.out); }
void run(const ops::Silu<Rows, Weight>& op, const Batch&, Range items, std::byte*) {
  map(op.x, op.out, items, [](F32 x) { return silu(x); });
}

size_t items(const ops::GeluTanh<Rows, Weight>& op, const Batch&) { return column_items(op.out); }
void run(const ops::GeluTanh<Rows, Weight>& op, const Batch&, Range items, std::byte*) {
  map(op.x, op.out, items, [](F32 x) { return gelu_tanh(x); });
}

size_t items(const ops::Gelu<Rows, Weight>& op, const Batch&) { return column_items(op.out); }
void run(const ops::Gelu<Rows, Weight>& op, const Batch&, Range items, std::byte*) {
  map(op.x, op.out, items, [](F32 x) { return gelu(x); });
}

size_t items(const ops::Softcap<Rows, Weight>& op, const Batch&) { return column_items(op.out); }
void run(const ops::Softcap<Rows, Weight>& op, const Batch&, Range items, std::byte*) {
  const F32 cap = F32::all(op.cap);
  map(op.x, op.out, items, [=](F32 x) { return softcap(x, cap); });
}

size_t items(const ops::Scale<Rows, Weight>& op, const Batch&) { return column_items(op.out); }
void run(const ops::Scale<Rows, Weight>& op, const Batch&, Range items, std::byte*) {
  const F32 factor = F32::all(op.factor);
  map(op.x, op.out, items, [=](F32 x) { return x * factor; });
}

}  // namespace infernode::cpu::INFERNODE_ISA
