// What tests of kernels share: the variants that this machine runs, matrices with poisoned surroundings, an executor.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cpu/cpu_features.h"
#include "cpu/kernels/kernels.h"

namespace infernode::cpu {

#define ISA(name, needs)            \
  namespace name {                  \
  extern const KernelTable kernels; \
  }
#include "generated/isas.def"
#undef ISA

}  // namespace infernode::cpu

namespace infernode::test {

using cpu::Batch;
using cpu::Kernel;
using cpu::KernelTable;
using cpu::Range;
using cpu::Rows;
using cpu::Weight;

// This machine's, and what main.cc emulates of the rest.
inline cpu::CpuFeatures& features() {
  static cpu::CpuFeatures found = cpu::CpuFeatures::detect();
  return found;
}

// Called before kernels run, if set.
inline void (*before_kernels)() = nullptr;

// The tables of the variants that this machine can run; the scalar one comes last.
inline const std::vector<const KernelTable*>& variants() {
  static const std::vector<const KernelTable*> tables = [] {
    std::vector<const KernelTable*> found;
#define ISA(name, needs) \
  if (features().has(needs)) found.push_back(&cpu::name::kernels);
#include "generated/isas.def"
#undef ISA
    return found;
  }();
  if (before_kernels) before_kernels();
  return tables;
}

// Bytes at a 64-byte boundary, all 0xff: NaN in every float type. Whatever is read without having been written shows.
class Bytes {
 public:
  explicit Bytes(size_t n) : size_((n + 63) & ~size_t{63}), data_(static_cast<std::byte*>(std::aligned_alloc(64, size_ + 64))) {
    std::memset(data_.get(), 0xff, size_ + 64);
  }
  std::byte* data() { return data_.get(); }
  // The 64 bytes after the end are as they were.
  bool guard_intact() const {
    for (size_t i = 0; i < 64; i++)
      if (data_.get()[size_ + i] != std::byte{0xff}) return false;
    return true;
  }

 private:
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  size_t size_;
  std::unique_ptr<std::byte, Free> data_;
};

// A matrix of values with NaN between its rows and after them.
struct Matrix {
  size_t n, width;
  TensorType type;
  Bytes bytes;
  size_t stride;

  Matrix(size_t n, size_t width, TensorType type = TensorType::kF32)
      : n(n), width(width), type(type), bytes(n * stride_of(type, width)), stride(stride_of(type, width)) {}
  static size_t stride_of(TensorType type, size_t width) { return (row_bytes(type, width) + 64 + 63) / 64 * 64; }

  Rows rows() { return {bytes.data(), stride, n, width, type}; }
  std::byte* row(size_t i) { return bytes.data() + i * stride; }
  float* f32(size_t i) { return reinterpret_cast<float*>(row(i)); }
  bool same(Matrix& other) {
    for (size_t i = 0; i < n; i++)
      if (std::memcmp(row(i), other.row(i), row_bytes(type, width)) != 0) return false;
    return true;
  }
};

using Random = std::mt19937;

// Normal values.
inline Matrix random_matrix(size_t n, size_t width, Random& random, float size = 1) {
  std::normal_distribution<float> normal(0, size);
  Matrix m(n, width);
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < width; j++) m.f32(i)[j] = normal(random);
  return m;
}

inline Weight vector_weight(Matrix& m) { return {m.row(0), 1, m.width, m.stride, TensorType::kF32, 0}; }

// Runs an op as the executor does, its items cut into `pieces` ranges that run last first.
template <class Op>
void execute(const Kernel<Op>& kernel, const Op& op, Batch batch = {}, size_t pieces = 1) {
  Bytes shared(kernel.shared_bytes ? kernel.shared_bytes(op, batch) : 0);
  batch.shared = shared.data();
  const size_t scratch_bytes = kernel.scratch_bytes ? kernel.scratch_bytes(op, batch) : 0;
  const auto all = [&](size_t n, auto run) {
    for (size_t piece = pieces; piece-- > 0;) {
      Bytes scratch(scratch_bytes);
      const Range range = {n * piece / pieces, n * (piece + 1) / pieces};
      if (range.begin < range.end) run(op, batch, range, scratch.data());
      if (!scratch.guard_intact()) std::abort();
    }
  };
  all(kernel.items(op, batch), kernel.run);
  if (kernel.merge_items) all(kernel.merge_items(op, batch), kernel.merge);
  if (!shared.guard_intact()) std::abort();
}

// Units in the last place of f32 around x.
inline double ulp(double x) {
  if (x == 0 || !std::isfinite(x)) return std::ldexp(1.0, -149);
  return std::ldexp(1.0, std::max(std::ilogb(x), -126) - 23);
}

}  // namespace infernode::test
