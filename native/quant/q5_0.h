// q5_0: 32 values of 5 bits with one f16 scale; value = d * (q - 16). Nibbles lie as in q4_0, bit i of `high` is the fifth bit
// of value i.
#pragma once

#include "quant/fit.h"
#include "quant/half.h"

namespace infernode::quant {

struct Q5_0 {
  static constexpr size_t kValues = 32;
  Half d;
  uint8_t high[4];
  uint8_t q[16];
};
static_assert(sizeof(Q5_0) == 22);

static inline void decode(const Q5_0& block, float* out) {
  const float d = to_float(block.d);
  uint32_t high;
  __builtin_memcpy(&high, block.high, sizeof high);
  for (size_t i = 0; i < 16; i++) {
    out[i] = d * static_cast<float>(static_cast<int>((block.q[i] & 15) | (high >> i & 1) << 4) - 16);
    out[i + 16] = d * static_cast<float>(static_cast<int>((block.q[i] >> 4) | (high >> (i + 16) & 1) << 4) - 16);
  }
}

// x is finite.
static inline void encode(const float* x, Q5_0& block) {
  using Levels = WholeLevels<-16, 15>;
  const Normalized<32> values(x);
  block.d = choose_scale<Levels>(values);
  int8_t levels[32];
  uint8_t q[32];
  round_to_levels<Levels>(values.x, 32, values.meaning(block.d), levels);
  for (size_t i = 0; i < 32; i++) q[i] = static_cast<uint8_t>(levels[i] + 16);
  pack_nibbles(q, block.q);
  pack_fifth_bits(q, block.high);
}

}  // namespace infernode::quant
