// iq4_nl: 32 nibbles with one f16 scale; value = d * kIq4Values[q], levels that lie denser near zero, as weights do.
// Byte i holds value i below and value i + 16 above.
#pragma once

#include "quant/fit.h"
#include "quant/half.h"

namespace infernode::quant {

// Shared with iq4_xs.
constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

namespace {
struct Iq4Levels {
  static constexpr float kLowest = -127, kHighest = 113, kNudge = 2;
  static Lanes nearest(Lanes v) {
    Lanes level = Lanes{} + kLowest;
    for (size_t i = 1; i < 16; i++) {
      const Lanes border = Lanes{} + static_cast<float>(kIq4Values[i - 1] + kIq4Values[i]) / 2,
                  step = Lanes{} + static_cast<float>(kIq4Values[i] - kIq4Values[i - 1]);
      level += v > border ? step : Lanes{};
    }
    return level;
  }
  // The number of a level.
  static uint8_t number(int8_t level) {
    uint8_t i = 0;
    while (kIq4Values[i] != level) i++;
    return i;
  }
};
}  // namespace

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

// x is finite.
static inline void encode(const float* x, Iq4_Nl& block) {
  const Normalized<32> values(x);
  block.d = choose_scale<Iq4Levels>(values);
  int8_t levels[32];
  uint8_t q[32];
  round_to_levels<Iq4Levels>(values.x, 32, values.meaning(block.d), levels);
  for (size_t i = 0; i < 32; i++) q[i] = Iq4Levels::number(levels[i]);
  pack_nibbles(q, block.q);
}

}  // namespace infernode::quant
