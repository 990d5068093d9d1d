// iq4_xs: 256 values in eight sub-blocks of 32; value = d * (scale - 32) * kIq4Values[q].
// A sub-block's 6-bit scale has four bits in a nibble of scales_low and two in scales_high; its 16 bytes are as in iq4_nl.
#pragma once

#include "quant/fit.h"
#include "quant/half.h"
#include "quant/iq4_nl.h"

namespace infernode::quant {

struct Iq4_Xs {
  static constexpr size_t kValues = 256;
  Half d;
  uint8_t scales_high[2];
  uint8_t scales_low[4];
  uint8_t q[128];
};
static_assert(sizeof(Iq4_Xs) == 136);

static inline int sub_scale(const Iq4_Xs& block, size_t sub) {
  const int low = block.scales_low[sub / 2] >> sub % 2 * 4 & 15, high = block.scales_high[sub / 4] >> sub % 4 * 2 & 3;
  return (low | high << 4) - 32;
}

static inline void decode(const Iq4_Xs& block, float* out) {
  const float d = to_float(block.d);
  for (size_t sub = 0; sub < 8; sub++) {
    const float scale = d * static_cast<float>(sub_scale(block, sub));
    const uint8_t* q = block.q + 16 * sub;
    for (size_t i = 0; i < 16; i++) {
      out[32 * sub + i] = scale * static_cast<float>(kIq4Values[q[i] & 15]);
      out[32 * sub + i + 16] = scale * static_cast<float>(kIq4Values[q[i] >> 4]);
    }
  }
}

// x is finite.
static inline void encode(const float* x, Iq4_Xs& block) {
  int8_t scales[8], levels[256];
  fit_scales<Iq4Levels, WholeLevels<-32, 31>, 32>(x, block.d, scales, levels);
  int high = 0;
  for (size_t sub = 0; sub < 8; sub++) {
    high |= (scales[sub] + 32) >> 4 << 2 * sub;
    uint8_t q[32];
    for (size_t i = 0; i < 32; i++) q[i] = Iq4Levels::number(levels[32 * sub + i]);
    pack_nibbles(q, block.q + 16 * sub);
  }
  block.scales_high[0] = static_cast<uint8_t>(high);
  block.scales_high[1] = static_cast<uint8_t>(high >> 8);
  for (size_t i = 0; i < 4; i++)
    block.scales_low[i] = static_cast<uint8_t>(((scales[2 * i] + 32) & 15) | ((scales[2 * i + 1] + 32) & 15) << 4);
}

}  // namespace infernode::quant
