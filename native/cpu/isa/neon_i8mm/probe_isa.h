// The limit of this variant: products of bytes over registers that never wait for each other.
#pragma once

#include "cpu/isa/neon_i8mm/squares.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

inline uint64_t multiply_all(uint64_t multiply_adds) {
  constexpr size_t kRegisters = 16;
  Square sums[kRegisters];
  Ints operands = all_ints(0x01020304);
  for (size_t i = 0; i < kRegisters; i++)
    sums[i] = vdupq_n_s32(static_cast<int32_t>(i));  // all different: equal ones would be merged
  for (uint64_t done = 0; done < multiply_adds; done += kRegisters * 32) {
    forget(operands);
#pragma GCC unroll 16
    for (size_t i = 0; i < kRegisters; i++) sums[i] = add_products(sums[i], operands.low, operands.high);
  }
  for (size_t i = 1; i < kRegisters; i++) sums[0] = veorq_s32(sums[0], sums[i]);
  return static_cast<uint64_t>(vgetq_lane_s32(sums[0], 0));
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
