// One work item of a matmul: what every variant's `multiply` is given.
#pragma once

#include "cpu/kernels/kernels.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

constexpr size_t kItemRows = 32;  // weight rows per work item

// sums[t * kItemRows + r] = x[t] · weight[row + r] for r < n_rows <= kItemRows; the other sums of a token are arbitrary.
struct Product {
  const Weight& weight;
  size_t row, n_rows;
  const Rows& x;  // of the type that the weight's type reads
  float* sums;
  std::byte* panel;  // kPanelBytes of scratch, 64-byte aligned
};

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
