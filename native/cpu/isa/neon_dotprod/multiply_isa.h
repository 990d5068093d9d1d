// The matmul of this variant is that of all vector variants, over its own int8.h.
#pragma once

#include "cpu/kernels/multiply_vectors.h"
