// Bytes as on avx512_vnni.
#pragma once

#include "cpu/isa/avx512_vnni/byte_dots.h"
