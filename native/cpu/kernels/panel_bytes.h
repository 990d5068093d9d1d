// Weights as dot products take them, where those need nothing but the bytes: what a variant's own kind of weights has to have.
#pragma once

#include "cpu/isa/simd_types.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

struct PanelBytes {
  static constexpr size_t kVectors = 1;  // that a panel keeps of a vector of bytes
  Ints bytes;

  INFERNODE_INLINE explicit PanelBytes(Ints weights) : bytes(weights) {}
  INFERNODE_INLINE explicit PanelBytes(const std::byte* panel) : bytes(load_ints(panel)) {}
  INFERNODE_INLINE static void store(Ints weights, std::byte* panel) { store_ints(panel, weights); }
};

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
