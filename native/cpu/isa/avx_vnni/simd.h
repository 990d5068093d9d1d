// The vectors are those of avx2: this variant adds dot products, which the matmul tiles use.
#pragma once

#include "../avx2/simd.h"
