// `multiply` of the vector variants: each tensor type to its tiles.
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
#include "cpu/kernels/multiply_blocks.h"
#include "cpu/kernels/multiply_floats.h"
#include "cpu/kernels/multiply_super_blocks.h"
#ifdef INFERNODE_BF16_PAIRS  // of a variant that can multiply them: the header that says how
#include INFERNODE_BF16_PAIRS
#include "cpu/kernels/multiply_bf16_pairs.h"
#endif

namespace infernode::cpu::INFERNODE_ISA {
namespace {

inline void multiply(const Product& p) {
  switch (p.weight.type) {
    case TensorType::kQ8_0: return multiply_blocks<Q8_0Lanes>(p);
    case TensorType::kQ4_0: return multiply_blocks<Q4_0Lanes>(p);
    case TensorType::kQ4_1: return multiply_blocks<Q4_1Lanes>(p);
    case TensorType::kQ5_0: return multiply_blocks<Q5_0Lanes>(p);
    case TensorType::kQ5_1: return multiply_blocks<Q5_1Lanes>(p);
    case TensorType::kIq4_Nl: return multiply_blocks<Iq4_NlLanes>(p);
    case TensorType::kMxfp4: return multiply_blocks<Mxfp4Lanes>(p);
    case TensorType::kQ2_K: return multiply_super_blocks<Q2_KLanes>(p);
    case TensorType::kQ3_K: return multiply_super_blocks<Q3_KLanes>(p);
    case TensorType::kQ4_K: return multiply_super_blocks<Q4_KLanes>(p);
    case TensorType::kQ5_K: return multiply_super_blocks<Q5_KLanes>(p);
    case TensorType::kQ6_K: return multiply_super_blocks<Q6_KLanes>(p);
    case TensorType::kIq4_Xs: return multiply_super_blocks<Iq4_XsLanes>(p);
#ifdef INFERNODE_BF16_PAIRS
    case TensorType::kBf16: return multiply_bf16_pairs(p);
#endif
    default: return multiply_floats(p);
  }
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
