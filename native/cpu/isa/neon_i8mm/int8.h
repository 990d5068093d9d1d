// Integers as on neon_dotprod, for few tokens.
#pragma once

#include "cpu/isa/neon_dotprod/int8.h"
