// The matmul of this variant: tiles for the integer products of many tokens, and what avx512_bf16 does for all others.
#pragma once

#include "cpu/isa/amx/multiply_block_tiles.h"
#include "cpu/isa/amx/multiply_super_block_tiles.h"
#include "cpu/kernels/multiply_or_base.h"
