// Limits of a vector variant: full-width loads, its int8 dot products and those of bf16 pairs over registers that never wait for
// each other.
#pragma once

#include "int8.h"
#ifdef INFERNODE_BF16_PAIRS  // as in multiply_vectors.h
#include INFERNODE_BF16_PAIRS
#endif

namespace infernode::cpu::INFERNODE_ISA {
namespace {

inline uint64_t read_all(const std::byte* data, size_t n) {
  Ints folded[8] = {};
  size_t i = 0;
  for (; i + sizeof folded <= n; i += sizeof folded) {
#pragma GCC unroll 8
    for (size_t j = 0; j < 8; j++) folded[j] ^= load_ints(data + i + j * sizeof(Ints));
  }
  for (size_t j = 1; j < 8; j++) folded[0] ^= folded[j];
  uint64_t result = 0, words[sizeof(Ints) / 8];
  __builtin_memcpy(words, &folded[0], sizeof words);
  for (uint64_t word : words) result ^= word;
  for (; i < n; i++) result ^= static_cast<uint64_t>(data[i]);
  return result;
}

// What a register tile would do if nothing had to be loaded.
inline uint64_t multiply_all(uint64_t multiply_adds) {
  constexpr size_t kRegisters = kPeakSums;
  Ints sums[kRegisters], weights = all_ints(0x01020304), activations = all_ints(0x7f017f01);
#pragma GCC unroll 16
  for (size_t i = 0; i < kRegisters; i++)
    sums[i] = all_ints(static_cast<int32_t>(i));  // all different: equal ones would be merged
  for (uint64_t done = 0; done < multiply_adds; done += kRegisters * kStep) {
    forget(weights);
    forget(activations);
#pragma GCC unroll 16
    for (size_t i = 0; i < kRegisters; i++) {
      sums[i] = peak_step(sums[i], weights, activations);
      forget(weights);  // or equal products would be one
    }
  }
  Ints folded = sums[0];
#pragma GCC unroll 16
  for (size_t i = 1; i < kRegisters; i++) folded ^= sums[i];
  int32_t first;
  __builtin_memcpy(&first, &folded, sizeof first);
  return static_cast<uint64_t>(first);
}

#ifdef INFERNODE_BF16_PAIRS
inline uint64_t multiply_all_bf16(uint64_t multiply_adds) {
  constexpr size_t kRegisters = 16, kValues = 2 * kLanes;
  Floats sums[kRegisters];
  Ints weights = all_ints(0x3f803f80), activations = all_ints(0x3c003c00);  // pairs of 1, pairs of 1/128
  for (size_t i = 0; i < kRegisters; i++) sums[i] = all_floats(static_cast<float>(i));
  for (uint64_t done = 0; done < multiply_adds; done += kRegisters * kValues) {
    forget(weights);
    forget(activations);
#pragma GCC unroll 16
    for (size_t i = 0; i < kRegisters; i++) sums[i] = add_bf16_pairs(sums[i], weights, activations);
  }
  for (size_t i = 1; i < kRegisters; i++) sums[0] += sums[i];
  uint32_t first;
  __builtin_memcpy(&first, &sums[0], sizeof first);
  return first;
}
#else
// Without such instructions they are multiplied as f32.
inline uint64_t multiply_all_bf16(uint64_t multiply_adds) { return static_cast<uint64_t>(f32_probe(multiply_adds)); }
#endif

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
