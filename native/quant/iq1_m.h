// iq1_m: 256 values in sixteen sub-blocks of 16; value = d * (2 * scale + 1) * (level ± 1/8), levels -1, 0, 1.
// Each eight values are an entry of iq1_s's codebook (8 bits in q, 3 in a nibble of high) and the sign of the shift (the nibble's
// fourth bit). Each 16 bits of scales hold four scales of 3 bits and above them four bits of d, an f16.
#pragma once

#include "quant/iq1_s.h"

namespace infernode::quant {

struct Iq1_M {
  static constexpr size_t kValues = 256;
  uint8_t q[32];
  uint8_t high[16];
  uint8_t scales[8];
};
static_assert(sizeof(Iq1_M) == 56);

static inline void decode(const Iq1_M& block, float* out) {
  Half half;
  half.bytes[0] = static_cast<uint8_t>(block.scales[1] >> 4 | (block.scales[3] & 0xf0));
  half.bytes[1] = static_cast<uint8_t>(block.scales[5] >> 4 | (block.scales[7] & 0xf0));
  const float d = to_float(half);
  for (size_t i = 0; i < 32; i++) {
    const uint32_t high = block.high[i / 2] >> i % 2 * 4, scale = little_u16(block.scales + i / 8 * 2) >> i / 2 % 4 * 3 & 7;
    decode_iq1(block.q[i] | (high & 7) << 8, d * static_cast<float>(2 * scale + 1), high >> 3 & 1, out + 8 * i);
  }
}

}  // namespace infernode::quant
