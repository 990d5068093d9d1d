// Limits of a vector variant: full-width loads, and its int8 dot products over registers that never wait for each other.
#pragma once

#include "int8.h"

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
  constexpr size_t kRegisters = kLanes == 16 ? 16 : 12;
  Ints sums[kRegisters], weights = all_ints(0x01020304), activations = all_ints(0x7f017f01);
  for (size_t i = 0; i < kRegisters; i++)
    sums[i] = all_ints(static_cast<int32_t>(i));  // all different: equal ones would be merged
  for (uint64_t done = 0; done < multiply_adds; done += kRegisters * kStep) {
    forget(weights);
    forget(activations);
#pragma GCC unroll 16
    for (size_t i = 0; i < kRegisters; i++) sums[i] = peak_step(sums[i], weights, activations);
  }
  for (size_t i = 1; i < kRegisters; i++) sums[0] ^= sums[i];
  int32_t first;
  __builtin_memcpy(&first, &sums[0], sizeof first);
  return static_cast<uint64_t>(first);
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
