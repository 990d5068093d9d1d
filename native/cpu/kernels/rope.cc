// Rotary position embeddings (arXiv:2104.09864): the table of angles once per step, then rotations of q and k by it.
#include "cpu/kernels/kernels_of_isa.h"
#include "cpu/kernels/math.h"
#include "cpu/kernels/rows.h"
#include "simd.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

// Rotates n pairs (x[i], x[n + i]).
INFERNODE_INLINE void rotate_halves(const float* x, const float* cosine, const float* sine, float* out, size_t n) {
  for (size_t i = 0; i < n; i += F32::lanes) {
    const F32 c = load(cosine + i, n - i), s = load(sine + i, n - i), a = load(x + i, n - i), b = load(x + n + i, n - i);
    store(out + i, a * c - b * s, n - i);
    store(out + n + i, b * c + a * s, n - i);
  }
}

// Rotates n pairs (x[2i], x[2i + 1]).
INFERNODE_INLINE void rotate_neighbours(const float* x, const float* cosine, const float* sine, float* out, size_t n) {
  constexpr size_t lanes = F32::lanes;
  for (size_t i = 0; i < n; i += lanes) {
    const size_t rest = 2 * (n - i), rest_of_second = rest > lanes ? rest - lanes : 0;
    const F32 c = load(cosine + i, n - i), s = load(sine + i, n - i);
    F32 a, b, first, second;
    deinterleave(load(x + 2 * i, rest), load(x + 2 * i + lanes, rest_of_second), a, b);
    interleave(a * c - b * s, b * c + a * s, first, second);
    store(out + 2 * i, first, rest);
    store(out + 2 * i + lanes, second, rest_of_second);
  }
}

// Whether a row belongs to a sequence that may become longer than `length`: it is one text in one stretch of positions, from its
// first token on, whatever else the step computes.
bool is_long(const Batch& batch, size_t row, size_t length) {
  for (size_t s = 0; s < batch.n_sequences; s++) {
    const KvSequence& sequence = batch.sequences[s];
    if (row >= sequence.first_row && row < sequence.first_row + sequence.n_rows) return sequence.longest > length;
  }
  return false;
}

}  // namespace

size_t items(const ops::RopeTable<Rows, Weight>& op, const Batch&) { return op.out.n; }
void run(const ops::RopeTable<Rows, Weight>& op, const Batch& batch, Range items, std::byte*) {
  const size_t n = op.out.width / 2;
  const F64 scale = F64::all(op.scale);
  for (size_t t = items.begin; t < items.end; t++) {
    const bool longer = op.long_frequencies.data && is_long(batch, t, op.short_length);
    const float* frequencies = reinterpret_cast<const float*>((longer ? op.long_frequencies : op.frequencies).data);
    float *cosines = f32_row(op.out, t), *sines = cosines + n;
    // In double: the product is exact, so an angle at position 1,000,000 is as good as one at position 1.
    const F64 position = F64::all(batch.positions[t]);
    for (size_t i = 0; i < n; i += F32::lanes) {
      F64 sine, cosine;
      sin_cos(position * widen(load(frequencies + i, n - i)), sine, cosine);
      store(cosines + i, narrow(cosine * scale), n - i);
      store(sines + i, narrow(sine * scale), n - i);
    }
  }
}

size_t items(const ops::Rope<Rows, Weight>& op, const Batch&) { return op.x.n; }
void run(const ops::Rope<Rows, Weight>& op, const Batch&, Range items, std::byte*) {
  const size_t n = op.table.width / 2, head_dim = op.head_dim;
  for (size_t t = items.begin; t < items.end; t++) {
    const float *cosine = f32_row(op.table, t), *sine = cosine + n;
    for (size_t head = 0; head < op.x.width; head += head_dim) {
      const float* x = f32_row(op.x, t) + head;
      float* out = f32_row(op.out, t) + head;
      if (op.pairing == ops::Pairing::kHalf)
        rotate_halves(x, cosine, sine, out, n);
      else
        rotate_neighbours(x, cosine, sine, out, n);
      if (out != x && head_dim > 2 * n) __builtin_memcpy(out + 2 * n, x + 2 * n, (head_dim - 2 * n) * sizeof(float));
    }
  }
}

}  // namespace infernode::cpu::INFERNODE_ISA
