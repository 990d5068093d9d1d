// What every variant's simd.h has in common: the 16-bit element types, and how its functions are declared.
#pragma once

#include <cstddef>
#include <cstdint>

// Each simd.h lives in an unnamed namespace: nothing of a variant has a symbol that a linker could share with another.
#define INFERNODE_INLINE [[gnu::always_inline]] inline

namespace infernode::cpu {

// Elements in memory; vectors convert them to and from f32.
struct F16 {
  uint16_t bits;
};
struct Bf16 {
  uint16_t bits;
};

}  // namespace infernode::cpu
