// The products of matrices of this variant are those of all vector variants, over its own int8.h and pairs of bf16.
#pragma once

#define INFERNODE_BF16_PAIRS "cpu/isa/avx512_bf16/bf16_pairs.h"
#include "cpu/kernels/multiply_matrices.h"
