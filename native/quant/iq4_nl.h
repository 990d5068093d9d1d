// iq4_nl: 32 nibbles with one f16 scale; value = d * kIq4Values[q], levels that lie denser near zero, as weights do.
// Byte i holds value i below and value i + 16 above.
#pragma once

#include "quant/half.h"

namespace infernode::quant {

// Shared with iq4_xs.
constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

struct Iq4_Nl {
  static constexpr size_t kValues = 32;
  Half d;
  uint8_t q[16];
};
static_assert(sizeof(Iq4_Nl) == 18);

static inline void decode(const Iq4_Nl& block, float* out) {
  const float d = to_float(block.d);
  for (size_t i = 0; i < 16; i++) {
    out[i] = d * static_cast<float>(kIq4Values[block.q[i] & 15]);
    out[i + 16] = d * static_cast<float>(kIq4Values[block.q[i] >> 4]);
  }
}

}  // namespace infernode::quant
