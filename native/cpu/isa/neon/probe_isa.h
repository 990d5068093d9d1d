// The limits of this variant are measured as those of all vector variants, over its own int8.h.
#pragma once

#include "cpu/kernels/probe_vectors.h"
