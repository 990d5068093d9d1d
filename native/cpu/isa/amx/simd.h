// The vectors are those of avx512: this variant adds tiles, which the matmul of many tokens uses.
#pragma once

#include "../avx512/simd.h"
