// Tensor's products of matrices (ProductKernel) alone, beside the peaks of their types: laying a out and multiplying, as Tensor.matmul
// and int8Matmul do it, results in memory that was written before. Types alternate, so that a machine shared with others disturbs all
// alike; medians count.
//
//   product_bench [--isa NAME] [--threads N] [--rounds N] [--m N] [--n N] [--k N] [f32 | f16 | bf16 | i8 …]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "../../test/native/kernel_harness.h"
#include "timing.h"

using namespace infernode;
using namespace infernode::test;
using bench::median;
using bench::time_of;
using cpu::MatrixProduct;
using cpu::ProductKernel;

namespace {

struct Options {
  const KernelTable* kernels = variants().front();
  size_t threads = 1, rounds = 9, m = 512, n = 4096, k = 4096;
  std::vector<TensorType> types;
};

// Operands of a type: i8 times i8, or f32 times floats.
struct Case {
  TensorType type;
  Bytes a, b, out, packed;
  std::vector<Bytes> scratch;
  MatrixProduct product;
  std::vector<double> seconds_to_pack, seconds;

  Case(TensorType type, const Options& o)
      : type(type), a(o.m * o.k * 4), b(o.n * o.k * 4), out(o.m * o.n * 4), packed(0), product(of(type, o)) {
    Random random(1);
    for (Bytes* side : {&a, &b})
      for (size_t i = 0; i < (side == &a ? o.m : o.n) * o.k; i++) {
        const uint32_t bits = random() & 0xbfffbfff;  // as floats of any type: finite
        std::memcpy(side->data() + i * 4, &bits, 4);
      }
    const ProductKernel& kernel = o.kernels->tensor.product;
    packed = Bytes(kernel.packed_bytes(product));
    for (size_t i = 0; i < o.threads; i++) scratch.emplace_back(kernel.scratch_bytes(product));
  }
  MatrixProduct of(TensorType type, const Options& o) {
    MatrixProduct p;
    p.m = o.m, p.n = o.n, p.k = o.k;
    p.a_type = type == TensorType::kI8 ? type : TensorType::kF32, p.b_type = type;
    p.a = a.data(), p.a_stride = row_bytes(p.a_type, o.k);
    p.b = b.data(), p.b_stride = row_bytes(type, o.k);
    p.out = out.data(), p.out_stride = o.n * 4;
    return p;
  }
  void run(const Options& o) {
    const ProductKernel& kernel = o.kernels->tensor.product;
    const auto shared = [&](size_t items, size_t i, auto&& f) { f(items * i / o.threads, items * (i + 1) / o.threads, scratch[i].data()); };
    seconds_to_pack.push_back(time_of(o.threads, [&](size_t i) {
      shared(kernel.pack_items(product), i,
             [&](size_t begin, size_t end, std::byte* memory) { kernel.pack(product, begin, end, packed.data(), memory); });
    }));
    seconds.push_back(seconds_to_pack.back() + time_of(o.threads, [&](size_t i) {
      shared(kernel.items(product), i,
             [&](size_t begin, size_t end, std::byte* memory) { kernel.run(product, begin, end, packed.data(), memory); });
    }));
  }
};

Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; i++) {
    const std::string option = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    const auto number = [&] { return std::max<size_t>(1, std::strtoul(value, nullptr, 10)); };
    const std::pair<const char*, size_t*> numbers[] = {
        {"--threads", &o.threads}, {"--rounds", &o.rounds}, {"--m", &o.m}, {"--n", &o.n}, {"--k", &o.k}};
    const auto* named = std::find_if(std::begin(numbers), std::end(numbers), [&](const auto& one) { return option == one.first; });
    if (named != std::end(numbers)) {
      *named->second = number();
      i++;
    } else if (option == "--isa") {
      for (const KernelTable* table : variants())
        if (std::strcmp(table->isa, value) == 0) o.kernels = table;
      if (std::strcmp(o.kernels->isa, value) != 0) std::fprintf(stderr, "this machine has no variant %s\n", value), std::exit(1);
      i++;
    } else {
      const TensorType types[] = {TensorType::kF32, TensorType::kF16, TensorType::kBf16, TensorType::kI8};
      const auto* type = std::find_if(std::begin(types), std::end(types), [&](TensorType t) { return info(t).name == option; });
      if (type == std::end(types)) std::fprintf(stderr, "no option and no type of a product: %s\n", argv[i]), std::exit(1);
      o.types.push_back(*type);
    }
  }
  if (o.types.empty()) o.types = {TensorType::kF32, TensorType::kBf16, TensorType::kI8};
  return o;
}

}  // namespace

int main(int argc, char** argv) {
  const Options o = parse(argc, argv);
  std::vector<Case> cases;
  cases.reserve(o.types.size());
  for (TensorType type : o.types) cases.emplace_back(type, o);
  std::vector<double> int8, f32;
  volatile double sink = 0;
  const uint64_t probe = uint64_t{1} << (std::strcmp(o.kernels->isa, "scalar") == 0 ? 26 : 32);
  const auto rate = [&](auto&& f) { return 2e-9 * static_cast<double>(probe * o.threads) / time_of(o.threads, [&](size_t) { sink = sink + static_cast<double>(f(probe)); }); };
  for (size_t round = 0; round < o.rounds; round++)
    for (Case& c : cases) {
      int8.push_back(rate(o.kernels->int8_probe));
      f32.push_back(rate(o.kernels->tensor.f32_probe));
      c.run(o);
    }
  std::printf("%s, %zu thread(s), %zu x %zu x %zu, %zu rounds; peaks (medians): f32 %.0f, int8 %.0f GOP/s\n", o.kernels->isa, o.threads, o.m,
              o.n, o.k, o.rounds, median(f32), median(int8));
  for (const Case& c : cases) {
    const double work = 2e-9 * static_cast<double>(o.m) * static_cast<double>(o.n) * static_cast<double>(o.k);
    const bool pairs = c.type == TensorType::kBf16 && std::strcmp(o.kernels->isa, "avx512_bf16") == 0;
    const double peak = c.type == TensorType::kI8 ? median(int8) : median(f32) * (pairs ? 2 : 1);
    std::printf("%-5s %6.0f GOP/s %5.1f %% of the peak; a laid out in %4.1f %% of the time\n", info(c.type).name, work / median(c.seconds),
                100 * work / median(c.seconds) / peak, 100 * median(c.seconds_to_pack) / median(c.seconds));
  }
}
