// The eight 6-bit scales and eight 6-bit minimums that q4_k and q5_k pack into 12 bytes.
// Byte j < 4 holds scale j, byte 4 + j min j, byte 8 + j the lower halves of scale and min 4 + j; their upper two bits are on
// top of bytes j and 4 + j.
#pragma once

#include <cstddef>
#include <cstdint>

namespace infernode::quant {

static inline int k_scale(const uint8_t* packed, size_t j) {
  return j < 4 ? packed[j] & 63 : (packed[j + 4] & 15) | packed[j - 4] >> 6 << 4;
}
static inline int k_min(const uint8_t* packed, size_t j) {
  return j < 4 ? packed[j + 4] & 63 : packed[j + 4] >> 4 | packed[j] >> 6 << 4;
}

// All eight of each.
static inline void pack_k_scales(const uint8_t* scales, const uint8_t* mins, uint8_t* packed) {
  for (size_t j = 0; j < 4; j++) {
    packed[j] = static_cast<uint8_t>(scales[j] | scales[j + 4] >> 4 << 6);
    packed[j + 4] = static_cast<uint8_t>(mins[j] | mins[j + 4] >> 4 << 6);
    packed[j + 8] = static_cast<uint8_t>((scales[j + 4] & 15) | (mins[j + 4] & 15) << 4);
  }
}

}  // namespace infernode::quant
