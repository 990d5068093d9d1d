// New tensors filled with numbers.
#include <algorithm>
#include <bit>
#include <cmath>

#include "exp_log.h"
#include "random.h"
#include "tensor/ops.h"

namespace infernode::tensor {

namespace {

constexpr size_t kChunk = 1024;
// Tells tensors' draws from the sampler's under the same seed.
constexpr uint32_t kTensorDraws = 0x54454e53;

// 24 bits: every multiple of 2^-24 in [0, 1).
float unit(uint32_t bits) { return static_cast<float>(bits >> 8) * 0x1p-24f; }

std::array<uint32_t, 4> draw(uint64_t seed, uint64_t index, uint32_t attempt) {
  return philox({static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), kTensorDraws, attempt},
                {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
}

// Marsaglia's polar method: G. Marsaglia, T. Bray, "A convenient method for generating normal variables", SIAM Review 6 (1964).
double normal(uint64_t seed, uint64_t index) {
  for (uint32_t attempt = 1;; attempt++) {
    const auto bits = draw(seed, index, attempt);
    const double x = static_cast<double>(bits[0]) * 0x1p-31 - 1, y = static_cast<double>(bits[1]) * 0x1p-31 - 1;
    const double square = x * x + y * y;
    if (square < 1 && square > 0) return x * std::sqrt(-2 * natural_log(square) / square);
  }
}

void fill_chunk(Fill fill, double first, double second, uint64_t seed, size_t begin, size_t n, float* out) {
  switch (fill) {
    case Fill::kFull: return std::fill_n(out, n, static_cast<float>(first)), void();
    case Fill::kRange:
      for (size_t i = 0; i < n; i++) out[i] = static_cast<float>(first + static_cast<double>(begin + i) * second);
      return;
    case Fill::kUniform:
      for (size_t i = 0; i < n; i++) {  // `begin` is a multiple of 4
        const auto bits = draw(seed, (begin + i) / 4, 0);
        for (size_t j = 0; j < 4 && i + j < n; j++)
          out[i + j] = static_cast<float>(first + static_cast<double>(unit(bits[j])) * (second - first));
        i += 3;
      }
      return;
    case Fill::kNormal:
      for (size_t i = 0; i < n; i++) out[i] = static_cast<float>(first + second * normal(seed, begin + i));
      return;
  }
}

}  // namespace

Result<View> create(const Maker& make, TensorType type, const size_t* shape, size_t rank, Fill fill, double first,
                    double second, uint64_t seed) {
  INFERNODE_ASSIGN(out, make_view(type, shape, rank));
  const size_t n = out.size(), width = info(type).block_bytes;
  make.job->costs(fill == Fill::kNormal ? 16 * n : fill == Fill::kUniform ? 4 * n : n);
  const cpu::TensorKernels& runs = make.runs();
  make.job->add({(n + kChunk - 1) / kChunk, 0, [=, &runs, out = out](size_t begin, size_t end, std::byte*) {
                   for (size_t i = begin * kChunk; i < std::min(end * kChunk, n); i += kChunk) {
                     const size_t m = std::min(kChunk, n - i);
                     if (type == TensorType::kI32) {  // f32 does not hold them all
                       int32_t* to = reinterpret_cast<int32_t*>(out.data()) + i;
                       for (size_t j = 0; j < m && fill <= Fill::kRange; j++)
                         to[j] = static_cast<int32_t>(std::clamp(
                             fill == Fill::kFull ? first : first + static_cast<double>(i + j) * second, -0x1p31, 0x1p31 - 1));
                       if (fill <= Fill::kRange) continue;
                     }
                     float values[kChunk];
                     fill_chunk(fill, first, second, seed, i, m, values);
                     runs.store(type, values, m, out.data() + i * width);
                   }
                 }});
  return out;
}

}  // namespace infernode::tensor
