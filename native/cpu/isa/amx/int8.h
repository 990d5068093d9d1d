// Integers as on avx512_vnni, for few tokens.
#pragma once

#include "cpu/isa/avx512_vnni/int8.h"
