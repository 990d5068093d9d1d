// Blocks to values and back, for every tensor type and on every variant: any bytes decode, any finite values encode.
#include <doctest/doctest.h>

#include <algorithm>

#include "kernel_harness.h"
#include "quant/block_types.h"

namespace infernode::test {

namespace {

const TensorType kTypes[] = {
#define NAME(enumerator, Block) TensorType::enumerator,
    INFERNODE_BLOCKS(NAME)
#undef NAME
};

std::vector<float> decoded(const KernelTable& kernels, TensorType type, const std::vector<std::byte>& bytes, size_t n) {
  std::vector<float> out(n);
  kernels.dequantize({bytes.data(), 1, n, bytes.size(), type, 0}, 0, out.data());
  return out;
}

std::vector<std::byte> encoded(const KernelTable& kernels, TensorType type, const std::vector<float>& x) {
  std::vector<std::byte> bytes(row_bytes(type, x.size()));
  kernels.encode(type, x.data(), x.size(), bytes.data());
  return bytes;
}

bool same(float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); }

double largest(const std::vector<float>& x) {
  double m = 0;
  for (float v : x) m = std::max(m, std::abs(static_cast<double>(v)));
  return m;
}

// Rows that are hard on an encoder: 256 values each.
std::vector<std::vector<float>> awkward_rows() {
  std::vector<std::vector<float>> rows;
  const auto fill = [&](auto value) {
    std::vector<float> row(256);
    for (size_t i = 0; i < 256; i++) row[i] = value(i);
    rows.push_back(row);
  };
  std::mt19937_64 engine(7);
  std::normal_distribution<float> normal(0, 1);
  for (float scale : {1.0f, 0.02f, 1e-3f, 30.0f}) fill([&](size_t) { return scale * normal(engine); });
  for (float constant : {0.0f, -0.0f, 1.0f, -1.0f, 0.37f, -0.37f, 1e-30f, 0x1p-149f, -0x1p-149f, 0x1p-126f, 3e38f, -3e38f, 1e-6f})
    fill([&](size_t) { return constant; });
  fill([](size_t i) { return i % 2 ? 3.4e38f : -3.4e38f; });
  fill([](size_t i) { return i % 2 ? 0x1p-149f : -0x1p-140f; });
  fill([](size_t i) { return i == 17 ? 1.0f : 0.0f; });
  fill([](size_t i) { return i == 255 ? -1e30f : 1e-30f; });
  fill([&](size_t i) { return std::ldexp(normal(engine), static_cast<int>(i) - 128); });
  fill([](size_t i) { return static_cast<float>(i) / 64 + 5; });
  fill([](size_t i) { return -static_cast<float>(i) / 64 - 5; });
  fill([](size_t i) { return static_cast<float>(static_cast<int>(i % 3) - 1) * 0.25f; });
  return rows;
}

// Most error of a value that lies well inside what its block's scale reaches, as a share of the largest magnitude in the row.
double most_error(TensorType type) {
  switch (type) {
    case TensorType::kF32: return 0;
    case TensorType::kF16: return 0x1p-11;
    case TensorType::kBf16: return 0x1p-8;
    case TensorType::kQ8_0: return 0.6 / 127;
    case TensorType::kQ6_K: return 1.2 / 32;
    case TensorType::kQ5_0: return 0.8 / 16;
    case TensorType::kQ5_1:
    case TensorType::kQ5_K: return 0.8 * 2 / 31;
    case TensorType::kQ4_0: return 0.8 / 8 + 0.06;
    case TensorType::kQ4_1:
    case TensorType::kQ4_K: return 0.8 * 2 / 15;
    default: return 1;
  }
}

}  // namespace

TEST_CASE("encode gives the same bytes on every variant, and they decode within the type's step") {
  const KernelTable& scalar = *variants().back();
  for (TensorType type : kTypes) {
    if (!quant::can_encode(type)) continue;
    for (const std::vector<float>& x : awkward_rows()) {
      const std::vector<std::byte> bytes = encoded(scalar, type, x);
      for (const KernelTable* kernels : variants()) CHECK_MESSAGE(encoded(*kernels, type, x) == bytes, kernels->isa, ", ", info(type).name);
      // An f16 scale reaches only so far, both ways; one of a power of two, or of four bits, less exactly so.
      const double m = largest(x);
      if (type != TensorType::kF32 && (m > 30000 || m < 1e-3)) continue;
      const std::vector<float> y = decoded(scalar, type, bytes, x.size());
      for (size_t i = 0; i < x.size(); i++)
        CHECK_MESSAGE(std::abs(static_cast<double>(y[i]) - x[i]) <= most_error(type) * m, info(type).name, ": ", x[i], " became ", y[i]);
    }
  }
}

TEST_CASE("a block of zeros is encoded exactly, one of equal values nearly so") {
  const KernelTable& kernels = *variants().front();
  for (TensorType type : kTypes) {
    if (!quant::can_encode(type)) continue;
    for (float value : {0.0f, 1.0f, -0.75f}) {
      const std::vector<float> x(256, value), y = decoded(kernels, type, encoded(kernels, type, x), 256);
      // The f16 rounding of a scale and of an integer multiple of it.
      for (float v : y) CHECK_MESSAGE(std::abs(v - value) <= 0x1p-9f * std::abs(value), info(type).name, ": ", value, " became ", v);
    }
  }
}

TEST_CASE("what was decoded from normal blocks is encoded with next to no further error") {
  std::mt19937_64 engine(3);
  std::normal_distribution<float> normal(0, 0.02f);
  const KernelTable& kernels = *variants().front();
  for (TensorType type : kTypes) {
    if (!quant::can_encode(type)) continue;
    std::vector<float> x(4096);
    for (float& v : x) v = normal(engine);
    const std::vector<float> once = decoded(kernels, type, encoded(kernels, type, x), x.size()),
                             twice = decoded(kernels, type, encoded(kernels, type, once), x.size());
    double first = 0, second = 0;
    for (size_t i = 0; i < x.size(); i++) {
      first += (once[i] - x[i]) * (once[i] - x[i]);
      second += (twice[i] - once[i]) * (twice[i] - once[i]);
    }
    CHECK_MESSAGE(second <= 0.2 * first, info(type).name, ": ", second, " after ", first);
  }
}

TEST_CASE("any bytes decode, to the same values on every variant") {
  std::mt19937_64 engine(5);
  const KernelTable& scalar = *variants().back();
  for (TensorType type : kTypes) {
    const size_t n = 64 * 256;
    std::vector<std::byte> bytes(row_bytes(type, n));
    for (std::byte& b : bytes) b = static_cast<std::byte>(engine());
    const std::vector<float> expected = decoded(scalar, type, bytes, n);
    for (const KernelTable* kernels : variants()) {
      const std::vector<float> found = decoded(*kernels, type, bytes, n);
      size_t different = 0;
      for (size_t i = 0; i < n; i++) different += !same(found[i], expected[i]);
      CHECK_MESSAGE(different == 0, kernels->isa, ", ", info(type).name);
    }
  }
}

}  // namespace infernode::test
