// Norms, rope, elementwise ops, gathers, quantization and reductions of every ISA variant, against float64.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <limits>

#include "kernel_harness.h"
#include "quant/activations.h"

using namespace infernode;
using namespace infernode::test;

namespace {

const size_t kWidths[] = {1, 7, 8, 9, 15, 16, 17, 31, 32, 63, 64, 65, 67, 129, 2047, 2049, 4096};
constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();

// Calls body for every variant of this machine.
template <class Body>
void on_each_variant(Body body) {
  for (const KernelTable* kernels : variants()) {
    INFO("variant ", std::string(kernels->isa));
    body(*kernels);
  }
}

// The bits of a matrix are those that the first variant computed.
struct SameOnAll {
  std::vector<Matrix> first;
  size_t next = 0;
  void start_variant() { next = 0; }
  void check(Matrix& m) {
    if (next == first.size()) {
      Matrix copy(m.n, m.width, m.type);
      std::memcpy(copy.row(0), m.row(0), m.n * m.stride);
      first.push_back(std::move(copy));
    } else {
      CHECK(first[next].same(m));
    }
    next++;
  }
};

}  // namespace

TEST_CASE("this machine runs at least the scalar variant") {
  REQUIRE(!variants().empty());
  CHECK(std::string(variants().back()->isa) == "scalar");
}

TEST_CASE("rmsNorm matches float64, in place too, with the same bits on every variant") {
  SameOnAll same;
  on_each_variant([&](const KernelTable& kernels) {
    Random random(1);
    same.start_variant();
    for (size_t width : kWidths)
      for (size_t groups : {1, 3}) {
        Matrix x = random_matrix(3, width * groups, random, 3), weight = random_matrix(1, width, random),
               out(3, width * groups);
        std::vector<double> expected;
        for (size_t i = 0; i < x.n; i++)
          for (size_t g = 0; g < groups; g++) {
            const float* row = x.f32(i) + g * width;
            double squares = 0;
            for (size_t d = 0; d < width; d++) squares += double{row[d]} * row[d];
            for (size_t d = 0; d < width; d++)
              expected.push_back(row[d] / std::sqrt(squares / static_cast<double>(width) + double{1e-5f}) * weight.f32(0)[d]);
          }
        const auto check = [&](Matrix& m) {
          double worst = 0;
          for (size_t i = 0; i < m.n * m.width; i++) {
            const double e = expected[i], error = std::abs(m.f32(i / m.width)[i % m.width] - e);
            worst = std::max(worst, error / ulp(e));
          }
          CHECK(worst < 8);  // 64 partial sums of up to 64 roundings each, halved by the root; then four roundings
          same.check(m);
        };
        ops::RmsNorm<Rows, Weight> op = {x.rows(), vector_weight(weight), {{out.rows()}, 1}, 1e-5f};
        execute(kernels.rms_norm, op, {}, 2);
        check(out);
        op.out.items[0] = x.rows();
        execute(kernels.rms_norm, op);
        check(x);
        CHECK(out.bytes.guard_intact());
        CHECK(x.bytes.guard_intact());
      }
  });
}

TEST_CASE("rmsNorm quantizes as quantize does, whether or not f32 is wanted too") {
  on_each_variant([&](const KernelTable& kernels) {
    Random random(2);
    Matrix x = random_matrix(3, 512, random), weight = random_matrix(1, 256, random);
    Matrix f32(3, 512), small(3, 512, TensorType::kA8_32), large(3, 512, TensorType::kA8_256);
    ops::RmsNorm<Rows, Weight> op = {x.rows(), vector_weight(weight), {{large.rows(), f32.rows(), small.rows()}, 3}, 1e-6f};
    execute(kernels.rms_norm, op);
    Matrix small2(3, 512, TensorType::kA8_32), large2(3, 512, TensorType::kA8_256);
    execute(kernels.quantize, {f32.rows(), {{small2.rows(), large2.rows()}, 2}});
    CHECK(small.same(small2));
    CHECK(large.same(large2));
    Matrix small3(3, 512, TensorType::kA8_32), large3(3, 512, TensorType::kA8_256);
    op.out = {{small3.rows(), large3.rows()}, 2};
    execute(kernels.rms_norm, op, {}, 3);
    CHECK(small3.same(small));
    CHECK(large3.same(large));
  });
}

TEST_CASE("quantize keeps its rules for every kind of block, with the same bits on every variant") {
  SameOnAll same;
  on_each_variant([&](const KernelTable& kernels) {
    same.start_variant();
    Random random(3);
    const size_t width = 256 * 9;  // more than one item, and a remainder
    Matrix x = random_matrix(2, width, random, 5);
    float* row = x.f32(0);
    for (size_t i = 0; i < 256; i++) row[i] = i % 2 ? 0.0f : -0.0f;  // zero
    row[256 + 40] = kNan;                                            // not finite
    row[512 + 3] = -kInfinity;
    for (size_t i = 768; i < 1024; i++) row[i] = std::ldexp(1.0f, -125);  // maxabs / 127 is subnormal
    for (size_t i = 1024; i < 1280; i++) row[i] = std::numeric_limits<float>::max();
    for (size_t i = 1280; i < 1536; i++) row[i] = static_cast<float>(i % 255) / 2 - 63.5f;  // many ties, d = 0.5
    row[1536] = std::ldexp(127.0f, -126);  // the smallest block that is not zero
    for (size_t i = 1537; i < 1792; i++) row[i] = 0;
    Matrix small(2, width, TensorType::kA8_32), large(2, width, TensorType::kA8_256);
    execute(kernels.quantize, {x.rows(), {{small.rows(), large.rows()}, 2}}, {}, 3);

    const auto check = [&](const float* in, size_t block, const int8_t* values, float scale) {
      float largest = 0;
      bool finite = true;
      for (size_t i = 0; i < block; i++) {
        finite = finite && std::isfinite(in[i]);
        largest = std::max(largest, std::abs(in[i]));
      }
      const float expected = !finite ? kNan : largest / 127 < std::ldexp(1.0f, -126) ? 0 : largest / 127;
      if (std::isnan(expected)) {
        CHECK(std::isnan(scale));
      } else {
        CHECK(scale == expected);
      }
      bool right = true;
      for (size_t i = 0; i < block; i++)
        right = right && values[i] == (expected > 0 ? std::clamp(std::nearbyint(in[i] * (1 / expected)), -127.0f, 127.0f) : 0);
      CHECK(right);
    };
    for (size_t r = 0; r < 2; r++) {
      for (size_t i = 0; i < width; i += 32) {
        const A8_32& block = a8_32_row(small.row(r))[i / 32];
        check(x.f32(r) + i, 32, block.values, block.scale);
        int32_t sum = 0;
        for (int8_t value : block.values) sum += value;
        CHECK(block.sum == sum);
      }
      for (size_t i = 0; i < width; i += 256) {
        const A8_256& block = a8_256_row(large.row(r))[i / 256];
        check(x.f32(r) + i, 256, block.values, block.scale);
        for (size_t j = 0; j < 256; j += 16) {
          int sum = 0;
          for (size_t l = 0; l < 16; l++) sum += block.values[j + l];
          CHECK(block.sums[j / 16] == sum);
        }
      }
    }
    CHECK(a8_256_row(large.row(0))[1536 / 256].values[0] == 127);
    CHECK(small.bytes.guard_intact());
    CHECK(large.bytes.guard_intact());
    same.check(small);
    same.check(large);
  });
}

TEST_CASE("exp is within 1 ulp, and keeps NaN and the infinities") {
  on_each_variant([&](const KernelTable& kernels) {
    const auto exp = [&](float x) { return kernels.exp_sum(&x, 1, 0); };
    double worst = 0;
    for (uint32_t sign : {0x00000000u, 0x80000000u})
      for (uint32_t bits = 0; bits < (sign ? 0x42d00000u : 0x42b17200u); bits += 1571) {  // to -104, to 88.72
        const float x = std::bit_cast<float>(sign | bits);
        const double e = std::exp(double{x});
        worst = std::max(worst, std::abs(exp(x) - e) / ulp(e));
      }
    CHECK(worst < 1);
    CHECK(exp(0) == 1);
    CHECK(exp(-0.0f) == 1);
    CHECK(exp(-kInfinity) == 0);
    CHECK(exp(-1000) == 0);
    CHECK(exp(kInfinity) == kInfinity);
    CHECK(exp(89) == kInfinity);
    CHECK(std::isnan(exp(kNan)));
  });
}

TEST_CASE("ropeTable holds cosines and sines of exact angles up to position 1,000,000") {
  SameOnAll same;
  on_each_variant([&](const KernelTable& kernels) {
    same.start_variant();
    for (size_t n : {1, 4, 7, 8, 17, 64}) {
      Matrix frequencies(1, n);
      for (size_t i = 0; i < n; i++) frequencies.f32(0)[i] = static_cast<float>(std::pow(10000.0, -double(i) / double(n)));
      std::vector<int32_t> positions = {0, 1, 2, 3, 22, 355, 710, 4095, 103993, 131071, 833719, 999999, 1000000, 4272943};
      for (int32_t p = 17; p < 1000000; p += 9973) positions.push_back(p);
      Matrix out(positions.size(), 2 * n);
      Batch batch;
      batch.positions = positions.data();
      batch.n_tokens = positions.size();
      execute(kernels.rope_table, {vector_weight(frequencies), {}, out.rows(), 1.0f, 0}, batch, 2);
      double worst = 0;
      for (size_t t = 0; t < positions.size(); t++)
        for (size_t i = 0; i < n; i++) {
          const long double angle = static_cast<long double>(positions[t]) * frequencies.f32(0)[i];
          const auto check = [&](float actual, long double expected) {
            const double error = static_cast<double>(std::abs(actual - expected)) - 1e-15;
            worst = std::max(worst, error / ulp(static_cast<double>(expected)));
          };
          check(out.f32(t)[i], std::cos(angle));
          check(out.f32(t)[n + i], std::sin(angle));
        }
      CHECK(worst <= 0.501);
      same.check(out);
      Matrix scaled(positions.size(), 2 * n);
      execute(kernels.rope_table, {vector_weight(frequencies), {}, scaled.rows(), 1.25f, 0}, batch);
      CHECK(scaled.f32(3)[0] == doctest::Approx(1.25 * std::cos(3.0)));
      CHECK(out.bytes.guard_intact());
    }
  });
}

TEST_CASE("rope rotates halves or neighbours of each head, part of it or all, in place too") {
  SameOnAll same;
  on_each_variant([&](const KernelTable& kernels) {
    same.start_variant();
    Random random(4);
    for (auto [head_dim, n] : {std::pair<uint32_t, size_t>{2, 1}, {8, 4}, {10, 3}, {34, 17}, {64, 16}, {80, 40}, {128, 64}})
      for (ops::Pairing pairing : {ops::Pairing::kHalf, ops::Pairing::kInterleaved}) {
        const size_t heads = 3;
        Matrix x = random_matrix(5, heads * head_dim, random), table = random_matrix(5, 2 * n, random),
               out(5, heads * head_dim);
        execute(kernels.rope, {x.rows(), table.rows(), out.rows(), head_dim, pairing}, {}, 2);
        double worst = 0;
        for (size_t t = 0; t < x.n; t++)
          for (size_t h = 0; h < heads; h++) {
            const float *from = x.f32(t) + h * head_dim, *to = out.f32(t) + h * head_dim, *angles = table.f32(t);
            for (size_t i = 0; i < n; i++) {
              const bool halves = pairing == ops::Pairing::kHalf;
              const size_t a = halves ? i : 2 * i, b = halves ? n + i : 2 * i + 1;
              const double c = angles[i], s = angles[n + i];
              worst = std::max(worst,
                               std::abs(to[a] - (from[a] * c - from[b] * s)) / (std::abs(from[a] * c) + std::abs(from[b] * s)));
              worst = std::max(worst,
                               std::abs(to[b] - (from[b] * c + from[a] * s)) / (std::abs(from[b] * c) + std::abs(from[a] * s)));
            }
            for (size_t i = 2 * n; i < head_dim; i++) CHECK(to[i] == from[i]);
          }
        CHECK(worst < std::ldexp(1.0, -23));  // two roundings
        CHECK(out.bytes.guard_intact());
        execute(kernels.rope, {x.rows(), table.rows(), x.rows(), head_dim, pairing});
        CHECK(x.same(out));
        same.check(out);
      }
  });
}

TEST_CASE("elementwise ops match float64, in place too, with the same bits on every variant") {
  SameOnAll same;
  on_each_variant([&](const KernelTable& kernels) {
    same.start_variant();
    Random random(5);
    const auto silu = [](double x) { return x / (1 + std::exp(-x)); };
    const auto gelu = [](double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); };
    for (size_t width : kWidths) {
      Matrix a = random_matrix(3, width, random, 8), b = random_matrix(3, width, random, 8);
      // tolerance: relative, in units of 2^-24, plus the absolute error that cancellation in the reference leaves
      const auto check = [&](const char* name, double tolerance, auto&& run, auto&& reference) {
        INFO(std::string(name), " of width ", width);
        Matrix out(3, width), in_place(3, width);
        run(a.rows(), out.rows());
        double worst = 0;
        for (size_t t = 0; t < out.n; t++)
          for (size_t i = 0; i < width; i++) {
            const double e = reference(double{a.f32(t)[i]}, double{b.f32(t)[i]});
            worst = std::max(worst, (std::abs(out.f32(t)[i] - e) - 1e-14) / (std::abs(e) + 1e-30));
          }
        CHECK(worst <= tolerance * std::ldexp(1.0, -24));
        CHECK(out.bytes.guard_intact());
        same.check(out);
        std::memcpy(in_place.row(0), a.row(0), a.n * a.stride);
        run(in_place.rows(), in_place.rows());
        CHECK(in_place.same(out));
      };
      using R = Rows;
      using W = Weight;
      check(
          "add", 1, [&](R x, R out) { execute(kernels.add, ops::Add<R, W>{x, b.rows(), out}, {}, 2); },
          [](double x, double y) { return x + y; });
      check(
          "mul", 1, [&](R x, R out) { execute(kernels.mul, ops::Mul<R, W>{x, b.rows(), out}, {}, 3); },
          [](double x, double y) { return x * y; });
      check(
          "scale", 1, [&](R x, R out) { execute(kernels.scale, ops::Scale<R, W>{x, out, 0.7f}, {}, 2); },
          [](double x, double) { return x * double{0.7f}; });
      check(
          "silu", 5, [&](R x, R out) { execute(kernels.silu, ops::Silu<R, W>{x, out}, {}, 2); },
          [&](double x, double) { return silu(x); });
      check(
          "swiglu", 6, [&](R x, R out) { execute(kernels.swiglu, ops::Swiglu<R, W>{x, b.rows(), out}, {}, 2); },
          [&](double x, double y) { return silu(x) * y; });
      // The exponent of gelu is as large as 2u, and so is its relative error times that.
      check(
          "geluTanh", 200, [&](R x, R out) { execute(kernels.gelu_tanh, ops::GeluTanh<R, W>{x, out}, {}, 2); },
          [&](double x, double) { return gelu(x); });
      check(
          "geglu", 200, [&](R x, R out) { execute(kernels.geglu, ops::Geglu<R, W>{x, b.rows(), out}, {}, 2); },
          [&](double x, double y) { return gelu(x) * y; });
    }
  });
}

TEST_CASE("tanh is within 2 ulp, and x times the normal tail within 6") {
  on_each_variant([&](const KernelTable& kernels) {
    std::vector<float> points;
    for (float x = 0x1p-130f; x < 20; x *= 1.0007f) points.push_back(x);
    Matrix x(1, points.size()), out(1, points.size());
    const auto run = [&](float sign, auto& kernel, auto op) {
      for (size_t i = 0; i < points.size(); i++) x.f32(0)[i] = sign * points[i];
      execute(kernel, op);
    };
    for (float sign : {-1.0f, 1.0f}) {
      // The cap of 1 and its quotient are exact.
      run(sign, kernels.softcap, ops::Softcap<Rows, Weight>{x.rows(), out.rows(), 1.0f});
      double worst = 0;
      for (size_t i = 0; i < x.width; i++) {
        const double e = std::tanh(double{x.f32(0)[i]});
        worst = std::max(worst, std::abs(out.f32(0)[i] - e) / ulp(e));
      }
      CHECK(worst < 2);
    }
    // x · Φ(x) of negative x is the tail and one product.
    run(-1, kernels.gelu, ops::Gelu<Rows, Weight>{x.rows(), out.rows()});
    double worst = 0;
    for (size_t i = 0; i < x.width; i++) {
      const double v = x.f32(0)[i], e = v * 0.5 * std::erfc(-v / std::sqrt(2.0));
      if (std::abs(e) > 0x1p-120 && v > -13) worst = std::max(worst, std::abs(out.f32(0)[i] - e) / ulp(e));
    }
    CHECK(worst < 6);
    for (auto [from, to] : {std::pair{kInfinity, kInfinity}, {-1000.0f, 0.0f}, {1000.0f, 1000.0f}, {0.0f, 0.0f}}) {
      Matrix one(1, 1), result(1, 1);
      one.f32(0)[0] = from;
      execute(kernels.gelu, ops::Gelu<Rows, Weight>{one.rows(), result.rows()});
      CHECK(result.f32(0)[0] == to);
    }
  });
}

TEST_CASE("silu and geluTanh end at 0 and x, and keep NaN") {
  on_each_variant([&](const KernelTable& kernels) {
    Matrix x(1, 5), out(1, 5);
    const float values[] = {-1000, 1000, kNan, kInfinity, 0};
    std::memcpy(x.row(0), values, sizeof values);
    for (bool gelu : {false, true}) {
      if (gelu)
        execute(kernels.gelu_tanh, {x.rows(), out.rows()});
      else
        execute(kernels.silu, {x.rows(), out.rows()});
      CHECK(out.f32(0)[0] == 0);
      CHECK(out.f32(0)[1] == 1000);
      CHECK(std::isnan(out.f32(0)[2]));
      CHECK(out.f32(0)[3] == kInfinity);
      CHECK(out.f32(0)[4] == 0);
    }
  });
}

TEST_CASE("ops over no rows do nothing") {
  on_each_variant([&](const KernelTable& kernels) {
    Matrix none(0, 64), weight(1, 64);
    execute(kernels.add, ops::Add<Rows, Weight>{none.rows(), none.rows(), none.rows()});
    execute(kernels.rms_norm, {none.rows(), vector_weight(weight), {{none.rows()}, 1}, 0});
    execute(kernels.output_rows, {none.rows(), none.rows()});
  });
}

TEST_CASE("embedding gathers and scales rows of an unaligned table") {
  on_each_variant([&](const KernelTable& kernels) {
    Random random(6);
    for (size_t width : {1, 31, 64, 67}) {
      Matrix values = random_matrix(5, width, random);
      Bytes file(5 * width * 4 + 3);
      for (size_t i = 0; i < 5; i++) std::memcpy(file.data() + 3 + i * width * 4, values.row(i), width * 4);
      const int32_t tokens[] = {4, 0, 4};
      Batch batch;
      batch.tokens = tokens;
      batch.n_tokens = 3;
      for (float scale : {1.0f, 25.25f}) {
        Matrix out(3, width);
        execute(kernels.embedding, {{file.data() + 3, 5, width, width * 4, TensorType::kF32, 0}, out.rows(), scale}, batch, 2);
        for (size_t t = 0; t < 3; t++)
          for (size_t i = 0; i < width; i++) CHECK(out.f32(t)[i] == values.f32(static_cast<size_t>(tokens[t]))[i] * scale);
        CHECK(out.bytes.guard_intact());
      }
    }
  });
}

TEST_CASE("outputRows picks the rows asked for") {
  on_each_variant([&](const KernelTable& kernels) {
    Random random(7);
    Matrix x = random_matrix(4, 67, random), out(3, 67);
    const int32_t rows[] = {3, 1, 3};
    Batch batch;
    batch.output_rows = rows;
    batch.n_outputs = 3;
    execute(kernels.output_rows, {x.rows(), out.rows()}, batch, 3);
    for (size_t i = 0; i < 3; i++) CHECK(std::memcmp(out.row(i), x.row(static_cast<size_t>(rows[i])), 67 * 4) == 0);
    CHECK(out.bytes.guard_intact());
  });
}

TEST_CASE("row_max finds the lowest index of the largest value, and passes over NaN") {
  on_each_variant([&](const KernelTable& kernels) {
    Random random(8);
    for (size_t n : {1, 7, 8, 16, 17, 33, 64, 1000}) {
      Matrix x = random_matrix(1, n, random);
      for (size_t winner = 0; winner < n; winner += 1 + n / 20) {
        Matrix y = random_matrix(1, n, random);
        float* row = y.f32(0);
        row[winner] = 100;
        row[n - 1] = 100;  // a tie goes to the lower index
        if (winner > 0) row[0] = kNan;
        const cpu::RowMax best = kernels.row_max(row, n);
        CHECK(best.value == 100);
        CHECK(best.index == winner);
      }
    }
    const float lowest[] = {-kInfinity, -kInfinity, -kInfinity};
    CHECK(kernels.row_max(lowest, 3).index == 0);
    CHECK(kernels.row_max(lowest, 3).value == -kInfinity);
    const float negative[] = {-5, -3, -4};
    CHECK(kernels.row_max(negative, 3).index == 1);
  });
}

TEST_CASE("exp_sum adds in float64 and is NaN if any value is, with the same bits on every variant") {
  std::vector<double> first;
  on_each_variant([&](const KernelTable& kernels) {
    Random random(9);
    size_t i = 0;
    for (size_t n : {1, 7, 8, 9, 16, 17, 40, 4096, 262144}) {
      Matrix x = random_matrix(1, n, random, 4);
      float* row = x.f32(0);
      const float max = kernels.row_max(row, n).value;
      double expected = 0;
      for (size_t j = 0; j < n; j++) expected += std::exp(double{row[j]} - max);
      const double actual = kernels.exp_sum(row, n, max);
      CHECK(std::abs(actual - expected) <= expected * 2e-7);
      if (first.size() == i) first.push_back(actual);
      CHECK(actual == first[i++]);
      row[n / 2] = kNan;
      CHECK(std::isnan(kernels.exp_sum(row, n, max)));
    }
  });
}
