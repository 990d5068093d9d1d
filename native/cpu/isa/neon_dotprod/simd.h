// The vectors are those of neon: this variant adds dot products, which the matmul tiles use.
#pragma once

#include "../neon/simd.h"
