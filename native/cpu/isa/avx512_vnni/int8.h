// Dot products of stored weights (unsigned bytes) with int8 activations, four per lane in one vpdpbusd.
#pragma once

#include "cpu/isa/avx512/lanes.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

// Signed bytes are stored with this added, for the instruction reads the weights as unsigned.
constexpr int kByteOffset = 128;
// Tokens per register tile, beside kPanelGroups * kLanes rows: 24 of 32 registers are sums.
constexpr size_t kBlockTokens = 6, kSuperTokens = 6, kFloatTokens = 12;

// Lane i: sum + the four products of its bytes, unsigned times signed.
INFERNODE_INLINE Ints add_quads(Ints sum, Ints weights, Ints activations) {
  return Ints(_mm512_dpbusd_epi32(__m512i(sum), __m512i(weights), __m512i(activations)));
}
// The same with four bytes of memory in every lane. Compilers spend an instruction and a register on them.
#define INFERNODE_ADDS_QUADS_OF_MEMORY
INFERNODE_INLINE Ints add_quads_of(Ints sum, Ints weights, const void* four_bytes) {
  struct Four {
    int8_t bytes[4];
  };
  asm("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(weights), "m"(*static_cast<const Four*>(four_bytes)));
  return sum;
}
// sum + the two products of 16-bit halves.
INFERNODE_INLINE Ints add_pairs(Ints sum, Ints a, Ints b) {
  return Ints(_mm512_dpwssd_epi32(__m512i(sum), __m512i(a), __m512i(b)));
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA

#include "cpu/kernels/quad_dots.h"
