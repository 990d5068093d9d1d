// Rows of a matrix as words of 32 bits that a lane multiplies at once: a value of f32, a pair of bf16, as many bytes as the
// variant adds up in a lane (Int8Words). Turned, so that the same word of several rows lies side by side.
#pragma once

#include "cpu/kernels/decode.h"
#include "cpu/kernels/multiply.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

constexpr size_t kBlockWords = 1024;  // of K, at once: a panel of them streams from L2 at full speed
constexpr size_t kRowBytes = kBlockWords * sizeof(int32_t);

// One side of a product.
struct WordRows {
  const std::byte* data;
  size_t stride;  // bytes between rows or, of turned matrices, between columns of them
  size_t n, k;    // rows, values of each
  TensorType type;
  int flip;  // xor of each word of bytes, to make them signed or unsigned

  const std::byte* row(size_t i) const { return data + (i < n ? i : n - 1) * stride; }
};

// A kind of words: how many values are in one, how two of them are multiplied and added to a sum; of which type a row's bytes are
// its words as they lie, and how those of other types become words (n values; the last word is filled up with zeros).
struct FloatWords {
  using Sum = Floats;
  static constexpr size_t kValues = 1;
  INFERNODE_INLINE static Floats add(Floats sum, Ints w, Ints a) { return multiply_add(as_floats(w), as_floats(a), sum); }
  static bool stored(TensorType type) { return type == TensorType::kF32; }
  static void convert(TensorType type, const std::byte* row, size_t first, size_t n, std::byte* words) {
    decode_values(type, row, first, n, reinterpret_cast<float*>(words));
  }
  // Columns of turned rows: one word of each.
  INFERNODE_INLINE static void turn(const WordRows& rows, size_t word, size_t first, size_t n, std::byte* words) {
    const std::byte* values = rows.data + word * rows.stride;
    if (!stored(rows.type)) return decode_values(rows.type, values, first, n, reinterpret_cast<float*>(words));
    if (n < kPanelRows) {
      __builtin_memcpy(words, values + first * sizeof(float), n * sizeof(float));
      return;
    }
    for (size_t g = 0; g < kPanelRows; g += kLanes) store_ints(words + g * 4, load_ints(values + (first + g) * 4));
  }
};

struct ByteWords : Int8Words {
  static bool stored(TensorType) { return kValues == 4; }
  static void convert(TensorType type, const std::byte* row, size_t first, size_t n, std::byte* words) {
    int16_t* wide = reinterpret_cast<int16_t*>(words);
    const uint8_t* bytes = reinterpret_cast<const uint8_t*>(row) + first;
    if (type == TensorType::kU8)
      for (size_t i = 0; i < n; i++) wide[i] = bytes[i];
    else
      for (size_t i = 0; i < n; i++) wide[i] = static_cast<int8_t>(bytes[i]);
    for (size_t i = n; i % kValues != 0; i++) wide[i] = 0;
  }
  static void turn(const WordRows&, size_t, size_t, size_t, std::byte*) {}  // bytes are never turned
};

INFERNODE_INLINE Floats load_sums(const float* p, Floats) { return load_floats(p); }
INFERNODE_INLINE Ints load_sums(const float* p, Ints) { return load_ints(p); }
INFERNODE_INLINE void store_sums(std::byte* p, Floats x) { store_floats(p, x); }
INFERNODE_INLINE void store_sums(std::byte* p, Ints x) { store_ints(p, x); }

INFERNODE_INLINE void load_end(const std::byte* from, size_t n, int flip, Ints& words) {
  std::byte end[sizeof(Ints)] = {};
  __builtin_memcpy(end, from, n);
  for (size_t i = 0; i < n; i++) end[i] ^= static_cast<std::byte>(flip);
  words = load_ints(end);
}

// Words first … first + n of kLanes rows from `row` on: those of a row become a column, kColumns words behind the one before. A
// whole vector is written for each, so that kLanes words behind the last one change, too. The last row stands for absent ones.
template <class Words, size_t kColumns>
[[gnu::noinline]] void turn_rows(const WordRows& from, size_t row, size_t first, size_t n, std::byte* out, std::byte* scratch) {
  const std::byte* rows[kLanes];
  size_t there = n * sizeof(int32_t);  // bytes
  const bool stored = Words::stored(from.type);
  if (stored) {
    const size_t bytes = (from.k - first * Words::kValues) * (sizeof(int32_t) / Words::kValues);
    if (bytes < there) there = bytes;
  }
  for (size_t i = 0; i < kLanes; i++) {
    rows[i] = from.row(row + i) + first * sizeof(int32_t);
    if (stored) continue;
    const size_t at = first * Words::kValues, values = from.k - at < n * Words::kValues ? from.k - at : n * Words::kValues;
    if (row + i < from.n) Words::convert(from.type, from.row(row + i), at, values, scratch + i * kRowBytes);
    rows[i] = row + i < from.n ? scratch + i * kRowBytes : rows[i - 1];
  }
  for (size_t w = 0; w < n; w += kLanes) {
    const size_t at = w * sizeof(int32_t);
    Ints words[kLanes];
    if (there - at >= sizeof(Ints)) {
#pragma GCC unroll 16
      for (size_t i = 0; i < kLanes; i++) words[i] = load_ints(rows[i] + at) ^ from.flip;
    } else {
      for (size_t i = 0; i < kLanes; i++) load_end(rows[i] + at, there - at, from.flip, words[i]);
    }
    transpose(words);
    if (n - w >= kLanes) {
#pragma GCC unroll 16
      for (size_t i = 0; i < kLanes; i++) store_ints(out + (w + i) * kColumns * sizeof(int32_t), words[i]);
    } else {
      for (size_t i = 0; w + i < n; i++) store_ints(out + (w + i) * kColumns * sizeof(int32_t), words[i]);
    }
  }
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
