// tq1_0: 256 values of -1, 0 or 1 times one f16 scale, five to a byte. For models trained with such weights.
// A byte is 256/243 of the number whose base-3 digits (first value first) are its values plus one, so that multiplying by 3 brings
// out a digit at a time. 32 bytes hold values i + 32n, 16 bytes values 160 + i + 16n, 4 bytes (four values each) 240 + i + 4n.
#pragma once

#include "quant/fit.h"
#include "quant/half.h"

namespace infernode::quant {

struct Tq1_0 {
  static constexpr size_t kValues = 256;
  uint8_t q[52];
  Half d;
};
static_assert(sizeof(Tq1_0) == 54);

// Bytes [first, first + n) hold values from first * 5 on, `digits` in each, n values apart.
struct TernaryBytes {
  size_t first, n, digits;
};
constexpr TernaryBytes kTernaryBytes[3] = {{0, 32, 5}, {32, 16, 5}, {48, 4, 4}};

static inline void decode(const Tq1_0& block, float* out) {
  const float d = to_float(block.d);
  for (const TernaryBytes& part : kTernaryBytes)
    for (size_t i = 0; i < part.n; i++) {
      uint8_t rest = block.q[part.first + i];
      for (size_t digit = 0; digit < part.digits; digit++) {
        out[part.first * 5 + digit * part.n + i] = d * static_cast<float>((rest * 3 >> 8) - 1);
        rest = static_cast<uint8_t>(rest * 3);
      }
    }
}

// x is finite.
static inline void encode(const float* x, Tq1_0& block) {
  uint8_t q[256];
  block.d = fit_ternary(x, q);
  for (const TernaryBytes& part : kTernaryBytes)
    for (size_t i = 0; i < part.n; i++) {
      int number = 0;
      for (size_t digit = 0; digit < 5; digit++)
        number = number * 3 + (digit < part.digits ? q[part.first * 5 + digit * part.n + i] : 0);
      block.q[part.first + i] = static_cast<uint8_t>((number * 256 + 242) / 243);  // rounded up: digits come out by rounding down
    }
}

}  // namespace infernode::quant
