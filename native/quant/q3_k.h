// q3_k: 256 values of 3 bits in sixteen sub-blocks of 16; value = d * (scale - 32) * (q - 4), scale of 6 bits.
// The lower two bits lie as in q2_k; value 32 * j + i has its third bit in bit j of high[i].
#pragma once

#include "quant/fit.h"
#include "quant/half.h"

namespace infernode::quant {

struct Q3_K {
  static constexpr size_t kValues = 256;
  uint8_t high[32];
  uint8_t q[64];
  uint8_t scales[12];  // bytes 0..7: lower 4 bits of scales i and i + 8; bytes 8..11: upper 2 bits of scales i, i + 4, i + 8, i
                       // + 12
  Half d;
};
static_assert(sizeof(Q3_K) == 110);

static inline int sub_scale(const Q3_K& block, size_t sub) {
  const int low = block.scales[sub % 8] >> (sub < 8 ? 0 : 4) & 15, high = block.scales[8 + sub % 4] >> (sub / 4 * 2) & 3;
  return (low | high << 4) - 32;
}

static inline void decode(const Q3_K& block, float* out) {
  const float d = to_float(block.d);
  for (size_t sub = 0; sub < 16; sub++) {
    const float scale = d * static_cast<float>(sub_scale(block, sub));
    const uint8_t *q = block.q + sub / 8 * 32 + sub % 2 * 16, *high = block.high + sub % 2 * 16;
    const size_t shift = sub % 8 / 2 * 2, bit = sub / 2;
    for (size_t i = 0; i < 16; i++)
      out[sub * 16 + i] = scale * static_cast<float>(((q[i] >> shift & 3) | (high[i] >> bit & 1) << 2) - 4);
  }
}

// x is finite.
static inline void encode(const float* x, Q3_K& block) {
  int8_t scales[16], levels[256];
  uint8_t q[256];
  fit_scales<WholeLevels<-4, 3>, WholeLevels<-32, 31>, 16>(x, block.d, scales, levels);
  for (size_t i = 0; i < 256; i++) q[i] = static_cast<uint8_t>(levels[i] + 4);
  pack_two_bits(q, block.q);
  for (size_t i = 0; i < 32; i++) {
    int bits = 0;
    for (size_t j = 0; j < 8; j++) bits |= q[32 * j + i] >> 2 << j;
    block.high[i] = static_cast<uint8_t>(bits);
  }
  for (size_t i = 0; i < 8; i++) block.scales[i] = static_cast<uint8_t>(((scales[i] + 32) & 15) | ((scales[i + 8] + 32) & 15) << 4);
  for (size_t i = 0; i < 4; i++) {
    int bits = 0;
    for (size_t j = 0; j < 4; j++) bits |= (scales[i + 4 * j] + 32) >> 4 << 2 * j;
    block.scales[8 + i] = static_cast<uint8_t>(bits);
  }
}

}  // namespace infernode::quant
