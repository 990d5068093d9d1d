// Limits of the scalar variant: word loads, and integer multiply-adds one at a time.
#pragma once

#include "simd.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

inline uint64_t read_all(const std::byte* data, size_t n) {
  uint64_t folded[4] = {}, word;
  size_t i = 0;
  for (; i + 32 <= n; i += 32)
    for (size_t j = 0; j < 4; j++) {
      __builtin_memcpy(&word, data + i + j * 8, 8);
      folded[j] ^= word;
    }
  for (; i < n; i++) folded[0] ^= static_cast<uint64_t>(data[i]);
  return folded[0] ^ folded[1] ^ folded[2] ^ folded[3];
}

inline uint64_t multiply_all(uint64_t multiply_adds) {
  constexpr size_t kChains = 8;
  uint32_t sums[kChains] = {};
  for (uint64_t i = 0; i < multiply_adds; i += kChains) {
    uint32_t a = 3, b = 5;
    asm volatile("" : "+r"(a), "+r"(b));  // unknown to the optimizer
    for (size_t j = 0; j < kChains; j++) sums[j] += a * b;
  }
  uint32_t folded = 0;
  for (uint32_t sum : sums) folded ^= sum;
  return folded;
}

inline uint64_t multiply_all_bf16(uint64_t multiply_adds) { return static_cast<uint64_t>(f32_probe(multiply_adds)); }

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
