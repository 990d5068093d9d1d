// The vectors are those of avx512: this variant adds dot products, which the matmul tiles use.
#pragma once

#include "../avx512/simd.h"
