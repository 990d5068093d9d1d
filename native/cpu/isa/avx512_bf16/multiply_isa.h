// The matmul of this variant is that of all vector variants, but for bf16 weights.
#pragma once

#define INFERNODE_BF16_PAIRS "cpu/isa/avx512_bf16/bf16_pairs.h"
#include "cpu/kernels/multiply_vectors.h"
