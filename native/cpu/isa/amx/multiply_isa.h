// The matmul of this variant: tiles for bf16 and for the integer products of many tokens, and what avx512_bf16 does for all
// others.
#pragma once

#define INFERNODE_BF16_TILES
#include "cpu/isa/amx/multiply_bf16_tiles.h"
#include "cpu/isa/amx/multiply_block_tiles.h"
#include "cpu/isa/amx/multiply_super_block_tiles.h"
#include "cpu/kernels/multiply_or_base.h"
