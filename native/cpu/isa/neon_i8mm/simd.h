// The vectors are those of neon: this variant adds products of small matrices, which the matmul of many tokens uses.
#pragma once

#include "../neon/simd.h"
