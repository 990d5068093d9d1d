// The products of matrices of this variant are those of all vector variants, over its own int8.h.
#pragma once

#include "cpu/kernels/multiply_matrices.h"
