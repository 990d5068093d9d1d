// Products of matrices for Tensor on every ISA variant: floats have the bits of the variant's own `linear`, bytes are exact; in any
// partition, for sizes beside those of tiles, panels and blocks. Memory around operands, results and scratch is poisoned.
#include <doctest/doctest.h>

#include <bit>

#include "kernel_harness.h"
#include "quant/half.h"

using namespace infernode;
using namespace infernode::test;
using cpu::MatrixProduct;

namespace {

struct Size {
  size_t m, n, k;
};
// Beside tiles of 6 and 12 rows, panels of 16 and 32 columns, and blocks of 1,024 words of one to four values.
constexpr Size kSizes[] = {{1, 1, 1},    {3, 31, 7},    {12, 32, 64},   {13, 33, 65},   {25, 64, 16},
                           {6, 17, 1024}, {7, 47, 1025}, {24, 32, 2048}, {14, 40, 2500}, {9, 33, 8200}};

// Items of the kernel in `pieces`, the last first.
Matrix multiplied(const KernelTable& kernels, MatrixProduct p, size_t pieces) {
  const cpu::ProductKernel& kernel = kernels.tensor.product;
  Matrix out(p.m, p.n);
  p.out = out.row(0), p.out_stride = out.stride;
  Bytes packed(kernel.packed_bytes(p)), scratch(kernel.scratch_bytes(p));
  const auto all = [&](size_t n, auto&& run) {
    for (size_t piece = pieces; piece-- > 0;)
      if (n * piece / pieces < n * (piece + 1) / pieces) run(n * piece / pieces, n * (piece + 1) / pieces);
  };
  all(kernel.pack_items(p), [&](size_t begin, size_t end) { kernel.pack(p, begin, end, packed.data(), scratch.data()); });
  all(kernel.items(p), [&](size_t begin, size_t end) { kernel.run(p, begin, end, packed.data(), scratch.data()); });
  CHECK(packed.guard_intact());
  CHECK(scratch.guard_intact());
  for (size_t i = 0; i < p.m; i++)  // nothing behind the rows of the result
    for (size_t at = p.n * 4; at < out.stride; at++) CHECK(out.row(i)[at] == std::byte{0xff});
  return out;
}

// Random values as floats of the type.
Matrix random_floats(size_t n, size_t width, TensorType type, Random& random) {
  Matrix from = random_matrix(n, width, random), to(n, width, type);
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < width; j++) {
      const uint16_t half = type == TensorType::kF16 ? std::bit_cast<uint16_t>(quant::to_half(from.f32(i)[j]))
                                                     : std::bit_cast<uint16_t>(quant::to_brain_half(from.f32(i)[j]));
      if (type == TensorType::kF32)
        std::memcpy(to.row(i) + j * 4, from.f32(i) + j, 4);
      else
        std::memcpy(to.row(i) + j * 2, &half, 2);
    }
  return to;
}

Matrix turned(Matrix& b) {
  const size_t bytes = row_bytes(b.type, 1);
  Matrix to(b.width, b.n, b.type);
  for (size_t i = 0; i < b.n; i++)
    for (size_t j = 0; j < b.width; j++) std::memcpy(to.row(j) + i * bytes, b.row(i) + j * bytes, bytes);
  return to;
}

Matrix linear_of(const KernelTable& kernels, Matrix& a, Matrix& b) {
  Matrix out(a.n, b.n);
  const Weight weight{b.row(0), b.n, b.width, b.stride, b.type, 0};
  execute(kernels.linear, ops::Linear<Rows, Weight>{{{a.rows()}, 1}, {}, {{weight}, 1}, {}, {{out.rows()}, 1}, ops::Epilogue::kNone});
  return out;
}

}  // namespace

TEST_CASE("products of matrices of floats have the bits of linear") {
  Random random(1);
  for (const Size& size : kSizes)
    for (TensorType type : {TensorType::kF32, TensorType::kF16, TensorType::kBf16}) {
      Matrix a = random_matrix(size.m, size.k, random), b = random_floats(size.n, size.k, type, random), columns = turned(b);
      for (const KernelTable* kernels : variants()) {
        if (type == TensorType::kBf16 && !kernels->tensor.product.adds_bf16_as_linear) continue;
        Matrix expected = linear_of(*kernels, a, b);
        for (bool is_turned : {false, true}) {
          Matrix& side = is_turned ? columns : b;
          MatrixProduct p;
          p.m = size.m, p.n = size.n, p.k = size.k;
          p.a = a.row(0), p.a_stride = a.stride;
          p.b = side.row(0), p.b_stride = side.stride, p.b_type = type, p.b_turned = is_turned;
          Matrix out = multiplied(*kernels, p, size.n % 2 ? 3 : 1);
          CHECK_MESSAGE(out.same(expected), kernels->isa, ", ", info(type).name, " ", size.m, " x ", size.n, " x ", size.k,
                        is_turned ? ", turned" : "");
        }
      }
    }
}

TEST_CASE("products of matrices of bytes are exact") {
  Random random(2);
  const TensorType bytes[] = {TensorType::kI8, TensorType::kU8};
  for (const Size& size : kSizes)
    for (TensorType left : bytes)
      for (TensorType right : bytes) {
        Matrix a(size.m, size.k, left), b(size.n, size.k, right);
        for (Matrix* side : {&a, &b})
          for (size_t i = 0; i < side->n; i++)
            for (size_t j = 0; j < size.k; j++) side->row(i)[j] = static_cast<std::byte>(random() % 8 == 0 ? 0x80 : random());
        Matrix zeros(1, size.n, TensorType::kI32), scales = random_matrix(1, size.n, random), sums(size.m, size.n), scaled(size.m, size.n);
        int32_t* zero_b = reinterpret_cast<int32_t*>(zeros.row(0));
        for (size_t j = 0; j < size.n; j++) zero_b[j] = static_cast<int32_t>(random() % 256) - 128;
        const auto value = [](Matrix& side, size_t i, size_t j) {
          const int byte = static_cast<int>(side.row(i)[j]);
          return side.type == TensorType::kI8 && byte > 127 ? byte - 256 : byte;
        };
        constexpr int32_t kZeroA = -7;
        for (size_t i = 0; i < size.m; i++)
          for (size_t j = 0; j < size.n; j++) {
            int64_t sum = 0;
            for (size_t k = 0; k < size.k; k++) sum += (value(a, i, k) - kZeroA) * (value(b, j, k) - zero_b[j]);
            const int32_t exact = static_cast<int32_t>(sum);
            const float product = static_cast<float>(exact) * (0.25f * scales.f32(0)[j]);
            std::memcpy(sums.row(i) + j * 4, &exact, 4);
            std::memcpy(scaled.row(i) + j * 4, &product, 4);
          }
        for (const KernelTable* kernels : variants()) {
          MatrixProduct p;
          p.m = size.m, p.n = size.n, p.k = size.k;
          p.a = a.row(0), p.a_stride = a.stride, p.a_type = left;
          p.b = b.row(0), p.b_stride = b.stride, p.b_type = right;
          p.zero_a = kZeroA, p.zero_b = {zero_b, false};
          Matrix exact = multiplied(*kernels, p, size.n % 2 ? 3 : 1);
          p.scale_a = 0.25f, p.scale_b = {scales.f32(0), false};
          Matrix floats = multiplied(*kernels, p, 1);
          CHECK_MESSAGE((exact.same(sums) && floats.same(scaled)), kernels->isa, ", ", info(left).name, " ", info(right).name, " ", size.m,
                        " x ", size.n, " x ", size.k);
        }
      }
}
