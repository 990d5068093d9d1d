// `multiply` of a variant that has tiles of its own for many tokens, and leaves all other products to its base: both give the
// same bits. Over kTileTokens, multiply_block_tiles and multiply_super_block_tiles of the variant.
#pragma once

#include "cpu/kernels/lanes_iq4_nl.h"
#include "cpu/kernels/lanes_iq4_xs.h"
#include "cpu/kernels/lanes_mxfp4.h"
#include "cpu/kernels/lanes_q2_k.h"
#include "cpu/kernels/lanes_q3_k.h"
#include "cpu/kernels/lanes_q4_0.h"
#include "cpu/kernels/lanes_q4_1.h"
#include "cpu/kernels/lanes_q4_k.h"
#include "cpu/kernels/lanes_q5_0.h"
#include "cpu/kernels/lanes_q5_1.h"
#include "cpu/kernels/lanes_q5_k.h"
#include "cpu/kernels/lanes_q6_k.h"
#include "cpu/kernels/lanes_q8_0.h"

namespace infernode::cpu::INFERNODE_BASE {
// In scratch that is as large as this variant's: a base has the same lanes.
void multiply_rows(const Weight&, size_t row, size_t n_rows, const Rows& x, float* sums, std::byte* panel);
}  // namespace infernode::cpu::INFERNODE_BASE

namespace infernode::cpu::INFERNODE_ISA {
namespace {

inline void multiply(const Product& p) {
  if (p.x.n >= kTileTokens) switch (p.weight.type) {
      case TensorType::kQ8_0: return multiply_block_tiles<Q8_0Lanes>(p);
      case TensorType::kQ4_0: return multiply_block_tiles<Q4_0Lanes>(p);
      case TensorType::kQ4_1: return multiply_block_tiles<Q4_1Lanes>(p);
      case TensorType::kQ5_0: return multiply_block_tiles<Q5_0Lanes>(p);
      case TensorType::kQ5_1: return multiply_block_tiles<Q5_1Lanes>(p);
      case TensorType::kIq4_Nl: return multiply_block_tiles<Iq4_NlLanes>(p);
      case TensorType::kMxfp4: return multiply_block_tiles<Mxfp4Lanes>(p);
      case TensorType::kQ2_K: return multiply_super_block_tiles<Q2_KLanes>(p);
      case TensorType::kQ3_K: return multiply_super_block_tiles<Q3_KLanes>(p);
      case TensorType::kQ4_K: return multiply_super_block_tiles<Q4_KLanes>(p);
      case TensorType::kQ5_K: return multiply_super_block_tiles<Q5_KLanes>(p);
      case TensorType::kQ6_K: return multiply_super_block_tiles<Q6_KLanes>(p);
      case TensorType::kIq4_Xs: return multiply_super_block_tiles<Iq4_XsLanes>(p);
      default: break;
    }
#ifdef INFERNODE_BF16_TILES  // multiply_bf16: for any number of tokens, since its order of additions is its own
  if (p.weight.type == TensorType::kBf16 && multiply_bf16(p)) return;
#endif
  INFERNODE_BASE::multiply_rows(p.weight, p.row, p.n_rows, p.x, p.sums, p.panel);
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
