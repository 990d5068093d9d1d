// How near the matmul comes to this machine's limits: a prompt against the peak int8 (or f32) rate, one token and small
// batches against the read bandwidth. Rounds alternate between types and probes, so that a machine shared with others disturbs all alike; medians
// count.
//
//   native_bench [--isa NAME] [--threads N] [--rounds N] [--rows N] [--cols N] [--prompt TOKENS] [TYPE …]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "../../test/native/kernel_harness.h"
#include "array.h"
#include "quant/half.h"
#include "timing.h"

using namespace infernode;
using namespace infernode::test;
using bench::median;
using bench::time_of;

namespace {

using Linear = ops::Linear<Rows, Weight>;

struct Options {
  const KernelTable* kernels = variants().front();
  size_t threads = 1, rounds = 9, rows = 5632, cols = 2048, prompt = 512;  // tokens
  std::vector<TensorType> types;
};

// Weights of random bytes with small scales: enough copies of one matrix that no cache holds them.
struct Weights {
  TensorType type;
  size_t copies, matrix_bytes;
  Array<std::byte> bytes;
  Weight one, all;

  Weights(TensorType type, const Options& o) : type(type) {
    matrix_bytes = row_bytes(type, o.cols) * o.rows;
    copies = std::max<size_t>(1, (size_t{192} << 20) / matrix_bytes);
    auto made = Array<std::byte>::make(matrix_bytes * copies, "weights");
    if (!made) std::exit(1);
    bytes = std::move(*made);
    Random random(1);
    for (size_t i = 0; i + 4 <= matrix_bytes; i += 4) {
      const uint32_t word = random() & 0x3fff3fff;  // as f16: finite
      std::memcpy(bytes.data() + i, &word, 4);
    }
    for (size_t i = 1; i < copies; i++) std::memcpy(bytes.data() + i * matrix_bytes, bytes.data(), matrix_bytes);
    one = {bytes.data(), o.rows, o.cols, row_bytes(type, o.cols), type, 0};
    all = one;
    all.rows *= copies;
  }
};

constexpr size_t kBatches[] = {1, 2, 4, 8, 16};

struct Case {
  Weights weights;
  std::vector<double> prompt, batch[std::size(kBatches)];  // operations; bytes of weights per second
};

// x in every activation type.
struct Input {
  Matrix f32, a32, a256;
  Input(const KernelTable& kernels, size_t n, size_t width, Random& random)
      : f32(random_matrix(n, width, random)), a32(n, width, TensorType::kA8_32), a256(n, width, TensorType::kA8_256) {
    execute(kernels.quantize, ops::Quantize<Rows, Weight>{f32.rows(), {{a32.rows(), a256.rows()}, 2}});
  }
  ops::List<Rows> rows(size_t n) {
    ops::List<Rows> list = {{f32.rows(), a32.rows(), a256.rows()}, 3};
    for (Rows& rows : list) rows.n = n;
    return list;
  }
};

double run_linear(const Options& o, const Weight& weight, Input& x, size_t n, Matrix& out) {
  Rows to = out.rows();
  to.n = n;
  const Linear op = {x.rows(n), {}, {{weight}, 1}, {}, {{to}, 1}, ops::Epilogue::kNone};
  const size_t items = o.kernels->linear.items(op, {});
  std::vector<Bytes> scratch;
  for (size_t i = 0; i < o.threads; i++) scratch.emplace_back(o.kernels->linear.scratch_bytes(op, {}));
  return time_of(o.threads, [&](size_t i) {
    o.kernels->linear.run(op, {}, {items * i / o.threads, items * (i + 1) / o.threads}, scratch[i].data());
  });
}

TensorType type_named(const char* name) {
  for (size_t i = 0; i < static_cast<size_t>(TensorType::kCount); i++)
    if (std::strcmp(kTensorTypes[i].name, name) == 0) return static_cast<TensorType>(i);
  std::fprintf(stderr, "no tensor type %s\n", name);
  std::exit(1);
}

Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; i++) {
    const std::string option = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    if (option.rfind("--", 0) != 0) {
      o.types.push_back(type_named(argv[i]));
      continue;
    }
    i++;
    if (option == "--threads")
      o.threads = std::strtoul(value, nullptr, 10);
    else if (option == "--rounds")
      o.rounds = std::strtoul(value, nullptr, 10);
    else if (option == "--rows")
      o.rows = std::strtoul(value, nullptr, 10);
    else if (option == "--prompt")
      o.prompt = std::max<size_t>(std::strtoul(value, nullptr, 10), 16);
    else if (option == "--cols")
      o.cols = std::strtoul(value, nullptr, 10);
    else if (option == "--isa") {
      const auto& all = variants();
      const auto found =
          std::find_if(all.begin(), all.end(), [&](const KernelTable* k) { return std::strcmp(k->isa, value) == 0; });
      if (found == all.end()) std::fprintf(stderr, "this machine has no variant %s\n", value), std::exit(1);
      o.kernels = *found;
    } else
      std::fprintf(stderr, "unknown option %s\n", option.c_str()), std::exit(1);
  }
  if (o.types.empty())
    for (const char* name : {"q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "iq4_nl", "mxfp4", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k",
                             "iq4_xs", "f32", "f16", "bf16"})
      o.types.push_back(type_named(name));
  return o;
}

}  // namespace

int main(int argc, char** argv) {
  const Options o = parse(argc, argv);
  Random random(1);
  Input x(*o.kernels, o.prompt, o.cols, random);
  std::vector<Case> cases;
  for (TensorType type : o.types) cases.push_back({Weights(type, o), {}, {}});
  Matrix prompt_out(o.prompt, o.rows);
  std::vector<double> peak, read;
  volatile uint64_t sink = 0;
  const uint64_t probe = uint64_t{1} << (std::strcmp(o.kernels->isa, "scalar") == 0 ? 28 : 34);
  for (size_t round = 0; round < o.rounds; round++)
    for (Case& c : cases) {
      Matrix out(kBatches[std::size(kBatches) - 1], c.weights.all.rows);
      const double work = 2.0 * static_cast<double>(o.rows * o.cols), bytes = static_cast<double>(c.weights.bytes.size());
      peak.push_back(2.0 * static_cast<double>(probe * o.threads) /
                     time_of(o.threads, [&](size_t) { sink = sink + o.kernels->int8_probe(probe); }));
      read.push_back(bytes / time_of(o.threads, [&](size_t i) {
                       const size_t n = c.weights.bytes.size() / o.threads;
                       sink = sink + o.kernels->read_probe(c.weights.bytes.data() + i * n, n);
                     }));
      c.prompt.push_back(work * static_cast<double>(o.prompt) / run_linear(o, c.weights.one, x, o.prompt, prompt_out));
      for (size_t i = 0; i < std::size(kBatches); i++)
        c.batch[i].push_back(bytes / run_linear(o, c.weights.all, x, kBatches[i], out));
    }
  std::printf("%s, %zu thread(s), weights [%zu, %zu], %zu rounds; int8 peak %.0f GOP/s, read %.1f GB/s (medians)\n",
              o.kernels->isa, o.threads, o.rows, o.cols, o.rounds, median(peak) / 1e9, median(read) / 1e9);
  std::printf("%-6s %5zu tokens %8s %8s", "type", o.prompt, "of peak", "of read:");
  for (size_t n : kBatches) std::printf(" %5zu", n);
  std::printf("  tokens\n");
  for (const Case& c : cases) {
    std::printf("%-6s %7.0f GOP/s %6.0f %% %8s", info(c.weights.type).name, median(c.prompt) / 1e9,
                100 * median(c.prompt) / median(peak), "");
    for (const auto& batch : c.batch) std::printf(" %3.0f %%", 100 * median(batch) / median(read));
    std::printf("\n");
  }
}
