// Stores a step's keys and values in the pages of the KV cache, in the layout of cpu/kv_layout.h.
#include "byte_dots.h"
#include "cpu/kernels/kernels_of_isa.h"
#include "cpu/kernels/quantize.h"
#include "cpu/kernels/rotation.h"
#include "cpu/kernels/rows.h"
#include "cpu/kv_layout.h"
#include "simd.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

using Op = ops::KvWrite<Rows, Weight>;

// An item is what one sequence writes for one KV head into one page.
size_t pages_touched(const KvSequence& sequence) {
  if (sequence.n_rows == 0) return 0;
  return (sequence.start + sequence.n_rows - 1) / kPagePositions - sequence.start / kPagePositions + 1;
}

// n rows of one KV head, `stride` floats apart, for positions [first, first + n) of a page.
struct Block {
  const float* rows;
  size_t stride;
  size_t n;
  size_t first;
  size_t head_dim;
};

// [positions, E] as the cache's element: a small piece at a time through L1, so that columns are read from cache.
constexpr size_t kPiece = 64;

template <class Element>
void write_keys(const Block& block, Element* keys) {
  Element piece[kPagePositions][kPiece];
  for (size_t e = 0; e < block.head_dim; e += kPiece) {
    const size_t width = smaller(kPiece, block.head_dim - e);
    for (size_t i = 0; i < block.n; i++)
      for (size_t j = 0; j < width; j += F32::lanes)
        store(piece[i] + j, load(block.rows + i * block.stride + e + j, width - j), width - j);
    for (size_t j = 0; j < width; j++)
      for (size_t i = 0; i < block.n; i++) keys[(e + j) * kPagePositions + block.first + i] = piece[i][j];
  }
}

template <class Element>
void write_values(const Block& block, Element* values) {
  for (size_t i = 0; i < block.n; i++) {
    const float* row = block.rows + i * block.stride;
    Element* out = values + (block.first + i) * block.head_dim;
    for (size_t e = 0; e < block.head_dim; e += F32::lanes)
      store(out + e, load(row + e, block.head_dim - e), block.head_dim - e);
  }
}

// Quantizes up to 32 values with an f16 scale, which is rounded before it is used: what is stored is what was divided by.
void quantize_q8_0(const float* x, size_t n, int8_t* out, F16* scale) {
  F16 half[F32::lanes];
  store(half, F32::all(block_scale(x, n)));
  float stored[F32::lanes];
  store(stored, load(half));
  // A block too large for f16 has an infinite scale: its values are 0, and 0 · ∞ is read as NaN.
  const float inverse = inverse_scale(stored[0]);
  *scale = half[0];
  for (size_t i = 0; i < n; i += F32::lanes) store(out + i, quantized(x + i, n - i, inverse), n - i);
}

void write_keys_q8_0(const Block& block, int8_t* keys, F16* scales) {
  float rotated[32];
  int8_t piece[32] = {};
  for (size_t i = 0; i < block.n; i++)
    for (size_t e = 0; e < block.head_dim; e += 32) {
      const size_t width = smaller(32, block.head_dim - e), position = block.first + i;
      rotate_32(block.rows + i * block.stride + e, width, block.head_dim, rotated);
      quantize_q8_0(rotated, width, piece, scales + e / 32 * kPagePositions + position);
      for (size_t j = 0; j < 32; j++) piece[j] = static_cast<int8_t>(piece[j] + kKeyOffset);
      for (size_t j = 0; j < width; j += 4) __builtin_memcpy(keys + (e + j) * kPagePositions + position * 4, piece + j, 4);
    }
}

void write_values_q8_0(const Block& block, int8_t* values, F16* scales) {
  float rotated[32];
  for (size_t i = 0; i < block.n; i++)
    for (size_t e = 0; e < block.head_dim; e += 32) {
      const size_t width = smaller(32, block.head_dim - e), position = block.first + i;
      rotate_32(block.rows + i * block.stride + e, width, block.head_dim, rotated);
      quantize_q8_0(rotated, width, values + position * block.head_dim + e, scales + e / 32 * kPagePositions + position);
    }
}

void write_head(TensorType type, const Block& k, const Block& v, std::byte* k_part, std::byte* v_part) {
  switch (type) {
    case TensorType::kF32:
      write_keys(k, reinterpret_cast<float*>(k_part));
      return write_values(v, reinterpret_cast<float*>(v_part));
    case TensorType::kF16:
      write_keys(k, reinterpret_cast<F16*>(k_part));
      return write_values(v, reinterpret_cast<F16*>(v_part));
    case TensorType::kBf16:
      write_keys(k, reinterpret_cast<Bf16*>(k_part));
      return write_values(v, reinterpret_cast<Bf16*>(v_part));
    default: {
      const size_t scales = kv_value_bytes(type, k.head_dim);
      write_keys_q8_0(k, reinterpret_cast<int8_t*>(k_part), reinterpret_cast<F16*>(k_part + scales));
      return write_values_q8_0(v, reinterpret_cast<int8_t*>(v_part), reinterpret_cast<F16*>(v_part + scales));
    }
  }
}

}  // namespace

size_t items(const Op&, const Batch& batch) {
  size_t pages = 0;
  for (size_t s = 0; s < batch.n_sequences; s++) pages += pages_touched(batch.sequences[s]);
  return pages * batch.cache.n_kv_heads;
}

void run(const Op& op, const Batch& batch, Range items, std::byte*) {
  const KvCacheView& cache = batch.cache;
  const size_t n_heads = cache.n_kv_heads, head_dim = cache.head_dim;
  size_t first_item = 0;
  for (size_t s = 0; s < batch.n_sequences; s++) {
    const KvSequence& sequence = batch.sequences[s];
    const size_t n_items = pages_touched(sequence) * n_heads;
    const int32_t* table = sequence.pages[cache.layer_group[op.layer]];
    for (size_t item = larger(items.begin, first_item); item < smaller(items.end, first_item + n_items); item++) {
      const size_t page = sequence.start / kPagePositions + (item - first_item) / n_heads, head = (item - first_item) % n_heads;
      const size_t begin = larger(sequence.start, page * kPagePositions);
      const size_t end = smaller(sequence.start + sequence.n_rows, (page + 1) * kPagePositions);
      const size_t row = sequence.first_row + begin - sequence.start;
      Block k = {f32_row(op.k, row) + head * head_dim, op.k.stride / sizeof(float), end - begin, begin % kPagePositions,
                 head_dim};
      Block v = k;
      v.rows = f32_row(op.v, row) + head * head_dim;
      v.stride = op.v.stride / sizeof(float);
      std::byte* slot =
          cache.pool + static_cast<size_t>(table[page]) * cache.page_bytes + cache.layer_slot[op.layer] * cache.slot_bytes;
      write_head(cache.type, k, v, slot + k_offset(cache.type, head_dim, head), slot + v_offset(cache.type, head_dim, head));
    }
    first_item += n_items;
  }
}

}  // namespace infernode::cpu::INFERNODE_ISA
