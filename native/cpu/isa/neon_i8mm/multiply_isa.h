// The matmul of this variant: squares for the integer products of many tokens, and what neon_dotprod does for all others.
#pragma once

#include "cpu/isa/neon_i8mm/multiply_block_tiles.h"
#include "cpu/isa/neon_i8mm/multiply_super_block_tiles.h"
#include "cpu/kernels/multiply_or_base.h"
