// What the i-quants of fewer than four bits share: groups of values named by a codebook entry, and their signs.
#pragma once

#include "quant/codebooks.h"
#include "quant/half.h"

namespace infernode::quant {

constexpr uint8_t kIq2Levels[4] = {8, 25, 43, 0};  // no entry holds the fourth
constexpr uint8_t kIq3Levels[8] = {4, 12, 20, 28, 36, 44, 52, 62};  // iq3_xxs; iq3_s has the odd numbers from 1 to 15

// Eight signs out of seven bits: the number of minuses is even, so the eighth follows.
static inline uint32_t eight_signs(uint32_t seven) { return seven | (__builtin_parity(seven) ? 128u : 0u); }

static inline float with_sign(float x, uint32_t signs, size_t i) { return signs >> i & 1 ? -x : x; }

// out[0 … 8) of iq2_xxs, iq2_xs and iq2_s.
static inline void decode_iq2(uint32_t entry, uint32_t signs, float d, float* out) {
  for (size_t i = 0; i < 8; i++) out[i] = with_sign(d * static_cast<float>(kIq2Levels[entry >> 2 * i & 3]), signs, i);
}

static inline uint32_t little_u32(const uint8_t* bytes) {
  uint32_t word;
  __builtin_memcpy(&word, bytes, sizeof word);
  return word;
}
static inline uint32_t little_u16(const uint8_t* bytes) { return static_cast<uint32_t>(bytes[0] | bytes[1] << 8); }

}  // namespace infernode::quant
