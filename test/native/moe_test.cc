// Mixtures of experts at kernel level: choices that no router makes, and tokens that all choose one expert.
#include <doctest/doctest.h>

#include <algorithm>
#include <limits>

#include "kernel_harness.h"

using namespace infernode;
using namespace infernode::test;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();

// A stack of f32 matrices [n][rows, cols], last one first in memory.
struct Stack {
  size_t n, rows, cols;
  std::vector<float> values;
  std::vector<cpu::ExpertMatrix> places;

  Stack(size_t n, size_t rows, size_t cols, Random& random) : n(n), rows(rows), cols(cols), values(n * rows * cols) {
    std::normal_distribution<float> normal(0, 1);
    for (float& value : values) value = normal(random);
    for (size_t e = 0; e < n; e++) places.push_back({reinterpret_cast<const std::byte*>(row(e, 0)), 0});
  }
  const float* row(size_t e, size_t r) const { return values.data() + ((n - 1 - e) * rows + r) * cols; }
  Weight weight() const {
    Weight weight{places[0].data, rows, cols, cols * sizeof(float), TensorType::kF32, 0};
    weight.experts = places.data();
    weight.n_experts = n;
    return weight;
  }
  double dot(size_t e, size_t r, const float* x) const {
    double sum = 0;
    for (size_t c = 0; c < cols; c++) sum += double{row(e, r)[c]} * x[c];
    return sum;
  }
};

// Runs both ops over this choice [T, 2·active] and compares with float64; slots of experts that are none count as absent.
void check_choice(const KernelTable& kernels, Matrix& routing, size_t dim, size_t ffn, size_t n_experts) {
  Random random(7);
  const size_t active = routing.width / 2;
  Matrix x = random_matrix(routing.n, dim, random), hidden(routing.n, active * ffn), out(routing.n, dim);
  const Stack gate(n_experts, ffn, dim, random), up(n_experts, ffn, dim, random), down(n_experts, dim, ffn, random);
  const auto expert = [&](size_t t, size_t r) {
    const float number = routing.f32(t)[r];
    return number >= 0 && number < static_cast<float>(n_experts) ? static_cast<size_t>(number) : n_experts;
  };
  ops::ExpertsSwiglu<Rows, Weight> inner{{{x.rows()}, 1}, routing.rows(), gate.weight(), up.weight(), hidden.rows()};
  ops::ExpertsSum<Rows, Weight> outer{{{hidden.rows()}, 1}, routing.rows(), down.weight(), out.rows()};
  for (size_t pieces : {1, 3, 7}) {
    execute(kernels.experts_swiglu, inner, {}, pieces);
    execute(kernels.experts_sum, outer, {}, pieces);
  }
  CHECK(hidden.bytes.guard_intact());
  CHECK(out.bytes.guard_intact());
  double worst = 0;
  for (size_t t = 0; t < routing.n; t++) {
    for (size_t r = 0; r < active; r++) {
      const size_t e = expert(t, r);
      for (size_t f = 0; f < ffn && e < n_experts; f++) {
        const double g = gate.dot(e, f, x.f32(t)), expected = g / (1 + std::exp(-g)) * up.dot(e, f, x.f32(t));
        worst = std::max(worst, std::abs(hidden.f32(t)[r * ffn + f] - expected) / (1 + std::abs(expected)));
      }
    }
    for (size_t d = 0; d < dim; d++) {
      double expected = 0;
      for (size_t r = 0; r < active; r++)
        if (expert(t, r) < n_experts)
          expected += routing.f32(t)[active + r] * down.dot(expert(t, r), d, hidden.f32(t) + r * ffn);
      worst = std::max(worst, std::abs(out.f32(t)[d] - expected) / (1 + std::abs(expected)));
    }
  }
  CHECK(worst < 1e-4);
}

}  // namespace

TEST_CASE("experts skip numbers that are none, and take one twice") {
  for (const KernelTable* kernels : variants()) {
    INFO("variant ", std::string(kernels->isa));
    const float numbers[][2] = {{0, 2},    {2, 2},        {-1, 1},       {kNan, 0}, {3, 2}, {kInfinity, -kInfinity},
                                {1e9f, 1}, {-0.5f, 1.5f}, {2.99f, 1e38f}};
    Matrix routing(std::size(numbers), 4);
    for (size_t t = 0; t < routing.n; t++)
      for (size_t r = 0; r < 2; r++) {
        routing.f32(t)[r] = numbers[t][r];
        routing.f32(t)[2 + r] = 0.25f + static_cast<float>(r);
      }
    check_choice(*kernels, routing, 9, 35, 3);
  }
}

TEST_CASE("experts take all tokens at once, in more than one chunk") {
  for (const KernelTable* kernels : variants()) {
    INFO("variant ", std::string(kernels->isa));
    for (size_t n : {1, 127, 128, 129, 300}) {
      Matrix routing(n, 4);
      for (size_t t = 0; t < n; t++) {
        routing.f32(t)[0] = 1;
        routing.f32(t)[1] = static_cast<float>(t % 5 == 0 ? 0 : 2);
        routing.f32(t)[2] = 0.75f;
        routing.f32(t)[3] = 0.25f;
      }
      check_choice(*kernels, routing, 5, 3, 4);
    }
  }
}
