// Dot products of stored weights (unsigned bytes) with int8 activations, four per lane in one vpdpbusd.
#pragma once

#include "cpu/isa/avx2/lanes.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

// Signed bytes are stored with this added, for the instruction reads the weights as unsigned.
constexpr int kByteOffset = 128;
// Tokens per register tile, beside kPanelGroups * kLanes rows: 10 of 16 registers are sums in add_dots.
constexpr size_t kBlockTokens = 5, kSuperTokens = 4, kFloatTokens = 6;

// Lane i: sum + the four products of its bytes, unsigned times signed.
INFERNODE_INLINE Ints add_quads(Ints sum, Ints weights, Ints activations) {
  return Ints(_mm256_dpbusd_avx_epi32(__m256i(sum), __m256i(weights), __m256i(activations)));
}
// sum + the two products of 16-bit halves.
INFERNODE_INLINE Ints add_pairs(Ints sum, Ints a, Ints b) {
  return Ints(_mm256_dpwssd_avx_epi32(__m256i(sum), __m256i(a), __m256i(b)));
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA

#include "cpu/kernels/quad_dots.h"
