// q6_k: 256 values of 6 bits in sixteen sub-blocks of 16; value = d * scale * (q - 32), scale a signed byte.
// In a half of 128, 64 bytes of `low` hold the lower nibbles of values i (below) and 64 + i (above); byte i of 32 bytes of
// `high` holds the upper two bits of values i, 32 + i, 64 + i, 96 + i.
#pragma once

#include "quant/fit.h"
#include "quant/half.h"

namespace infernode::quant {

struct Q6_K {
  static constexpr size_t kValues = 256;
  uint8_t low[128];
  uint8_t high[64];
  int8_t scales[16];
  Half d;
};
static_assert(sizeof(Q6_K) == 210);

// Value i as stored, 0..63.
static inline int stored_value(const Q6_K& block, size_t i) {
  const size_t half = i / 128, j = i % 128;
  const int low = block.low[half * 64 + j % 64] >> j / 64 * 4 & 15, high = block.high[half * 32 + j % 32] >> j / 32 * 2 & 3;
  return low | high << 4;
}

static inline void decode(const Q6_K& block, float* out) {
  const float d = to_float(block.d);
  for (size_t sub = 0; sub < 16; sub++) {
    const float scale = d * static_cast<float>(block.scales[sub]);
    const uint8_t *low = block.low + sub / 8 * 64 + sub % 4 * 16, *high = block.high + sub / 8 * 32 + sub % 2 * 16;
    const size_t low_shift = sub % 8 / 4 * 4, high_shift = sub % 8 / 2 * 2;
    for (size_t i = 0; i < 16; i++)
      out[sub * 16 + i] = scale * static_cast<float>(((low[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4) - 32);
  }
}

// x is finite.
static inline void encode(const float* x, Q6_K& block) {
  int8_t levels[256];
  uint8_t q[256];
  fit_scales<WholeLevels<-32, 31>, WholeLevels<-128, 127>, 16>(x, block.d, block.scales, levels);
  for (size_t i = 0; i < 256; i++) q[i] = static_cast<uint8_t>(levels[i] + 32);
  for (size_t half = 0; half < 2; half++) {
    const uint8_t* of = q + half * 128;
    for (size_t i = 0; i < 64; i++) block.low[half * 64 + i] = static_cast<uint8_t>((of[i] & 15) | (of[i + 64] & 15) << 4);
    for (size_t i = 0; i < 32; i++)
      block.high[half * 32 + i] = static_cast<uint8_t>(of[i] >> 4 | of[i + 32] >> 4 << 2 | of[i + 64] >> 4 << 4 | of[i + 96] >> 4 << 6);
  }
}

}  // namespace infernode::quant
