// How near the matmul comes to this machine's limits: a prompt against the peak int8 (or f32) rate, one token and small
// batches against the read bandwidth. Rounds alternate between types and probes, so that a machine shared with others disturbs all alike; medians
// count.
//
// --pieces N shares out each matrix as a step of a model does: threads claim N pieces of one and meet before the next. --file
// takes the bytes of a file for weights, mapped as a checkpoint is.
//
//   native_bench [--isa NAME] [--threads N] [--rounds N] [--rows N] [--cols N] [--prompt TOKENS] [--pieces N]
//                [--megabytes N] [--file PATH] [--offset BYTES] [TYPE …]
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
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
  size_t pieces = 0;  // of a matrix; 0: each thread has one share of all of them
  size_t offset = 0;       // bytes in front of the weights: checkpoints align them to 32
  size_t megabytes = 192;  // of weights for small batches; so few that a cache holds them: what the instructions alone take
  std::span<const std::byte> file;
  std::vector<TensorType> types;
};

// Weights of a file's bytes, or of random ones with small scales: so many matrices that no cache holds them.
struct Weights {
  TensorType type;
  size_t copies, matrix_bytes;
  Array<std::byte> made;
  std::span<const std::byte> bytes;
  Weight one, all;

  Weights(TensorType type, const Options& o) : type(type) {
    matrix_bytes = row_bytes(type, o.cols) * o.rows;
    copies = std::max<size_t>(1, (o.megabytes << 20) / matrix_bytes);
    if (o.offset + matrix_bytes * copies <= o.file.size())
      bytes = o.file.subspan(o.offset, matrix_bytes * copies);
    else
      make_random(o.offset);
    one = {bytes.data(), o.rows, o.cols, row_bytes(type, o.cols), type, 0};
    all = one;
    all.rows *= copies;
  }

 private:
  void make_random(size_t offset) {
    auto array = Array<std::byte>::make(offset + matrix_bytes * copies, "weights");
    if (!array) std::exit(1);
    made = std::move(*array);
    std::byte* data = made.data() + offset;
    Random random(1);
    for (size_t i = 0; i + 4 <= matrix_bytes; i += 4) {
      const uint32_t word = random() & 0x3fff3fff;  // as f16: finite
      std::memcpy(data + i, &word, 4);
    }
    for (size_t i = 1; i < copies; i++) std::memcpy(data + i * matrix_bytes, data, matrix_bytes);
    bytes = {data, matrix_bytes * copies};
  }
};

constexpr size_t kBatches[] = {1, 2, 4, 8, 16};

struct Case {
  Weights weights;
  std::vector<double> prompt, read, batch[std::size(kBatches)];  // operations; bytes of weights per second
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

double run_linear(const Options& o, const Weight& weight, Input& x, size_t n, Matrix& out, size_t turns = 1) {
  Rows to = out.rows();
  to.n = n;
  const Linear op = {x.rows(n), {}, {{weight}, 1}, {}, {{to}, 1}, ops::Epilogue::kNone};
  const auto& kernel = o.kernels->linear;
  Batch batch;
  batch.n_tokens = n;
  Bytes shared(kernel.shared_bytes(op, batch));
  batch.shared = shared.data();
  std::vector<Bytes> scratch;
  for (size_t i = 0; i < o.threads; i++) scratch.emplace_back(kernel.scratch_bytes(op, batch));
  const auto phase = [&](size_t items, auto run) {
    return time_of(o.threads, [&](size_t i) {
      for (size_t turn = 0; turn < turns; turn++)
        run(op, batch, Range{items * i / o.threads, items * (i + 1) / o.threads}, scratch[i].data());
    });
  };
  return phase(kernel.items(op, batch), kernel.run) + phase(kernel.merge_items(op, batch), kernel.merge);
}

// The same matrix by matrix, as sections of a step: `o.pieces` pieces of each, and all threads meet before the next one.
double run_sections(const Options& o, const Weights& w, Input& x, size_t n, Matrix& out) {
  Rows to = out.rows();
  to.n = n;
  struct Section {
    std::atomic<size_t> next{0}, done{0};
  };
  std::vector<Section> sections(w.copies);
  std::vector<Bytes> scratch;
  const Linear shape = {x.rows(n), {}, {{w.one}, 1}, {}, {{to}, 1}, ops::Epilogue::kNone};
  const size_t items = o.kernels->linear.items(shape, {}), grain = (items + o.pieces - 1) / o.pieces;
  const size_t pieces = (items + grain - 1) / grain;
  for (size_t i = 0; i < o.threads; i++) scratch.emplace_back(o.kernels->linear.scratch_bytes(shape, {}));
  return time_of(o.threads, [&](size_t thread) {
    for (size_t s = 0; s < w.copies; s++) {
      Weight weight = w.one;
      weight.data += s * w.matrix_bytes;
      const Linear op = {x.rows(n), {}, {{weight}, 1}, {}, {{to}, 1}, ops::Epilogue::kNone};
      for (size_t i; (i = sections[s].next++) < pieces; sections[s].done++)
        o.kernels->linear.run(op, {}, {i * grain, std::min(items, (i + 1) * grain)}, scratch[thread].data());
      while (sections[s].done < pieces) {
      }
    }
  });
}

TensorType type_named(const char* name) {
  for (size_t i = 0; i < static_cast<size_t>(TensorType::kCount); i++)
    if (std::strcmp(kTensorTypes[i].name, name) == 0) return static_cast<TensorType>(i);
  std::fprintf(stderr, "no tensor type %s\n", name);
  std::exit(1);
}

std::span<const std::byte> mapped(const char* path) {
  struct stat status;
  const int file = open(path, O_RDONLY);
  void* data = file < 0 || fstat(file, &status) != 0
                   ? MAP_FAILED
                   : mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ, MAP_SHARED | MAP_POPULATE, file, 0);
  if (data == MAP_FAILED) std::fprintf(stderr, "cannot map %s\n", path), std::exit(1);
  return {static_cast<const std::byte*>(data), static_cast<size_t>(status.st_size)};
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
    else if (option == "--pieces")
      o.pieces = std::strtoul(value, nullptr, 10);
    else if (option == "--megabytes")
      o.megabytes = std::strtoul(value, nullptr, 10);
    else if (option == "--offset")
      o.offset = std::strtoul(value, nullptr, 10);
    else if (option == "--file")
      o.file = mapped(value);
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
  for (TensorType type : o.types) cases.push_back({Weights(type, o), {}, {}, {}});
  Matrix prompt_out(o.prompt, o.rows);
  std::vector<double> peak;
  volatile uint64_t sink = 0;
  const uint64_t probe = uint64_t{1} << (std::strcmp(o.kernels->isa, "scalar") == 0 ? 28 : 34);
  for (size_t round = 0; round < o.rounds; round++)
    for (Case& c : cases) {
      Matrix out(kBatches[std::size(kBatches) - 1], c.weights.all.rows);
      // What a cache holds is multiplied more than once.
      const size_t turns = std::max<size_t>(1, (size_t{32} << 20) / c.weights.bytes.size());
      const double work = 2.0 * static_cast<double>(o.rows * o.cols);
      const double bytes = static_cast<double>(c.weights.bytes.size() * turns);
      peak.push_back(2.0 * static_cast<double>(probe * o.threads) /
                     time_of(o.threads, [&](size_t) { sink = sink + o.kernels->int8_probe(probe); }));
      c.read.push_back(bytes / time_of(o.threads, [&](size_t i) {
                       const size_t n = c.weights.bytes.size() / o.threads;
                       for (size_t turn = 0; turn < turns; turn++) sink = sink + o.kernels->read_probe(c.weights.bytes.data() + i * n, n);
                     }));
      c.prompt.push_back(work * static_cast<double>(o.prompt) / run_linear(o, c.weights.one, x, o.prompt, prompt_out));
      for (size_t i = 0; i < std::size(kBatches); i++)
        c.batch[i].push_back(bytes / (o.pieces ? run_sections(o, c.weights, x, kBatches[i], out)
                                               : run_linear(o, c.weights.all, x, kBatches[i], out, turns)));
    }
  std::printf("%s, %zu thread(s), weights [%zu, %zu], %zu rounds; int8 peak %.0f GOP/s (medians)\n", o.kernels->isa, o.threads, o.rows,
              o.cols, o.rounds, median(peak) / 1e9);
  std::printf("%-6s %5zu tokens %8s %5s %8s", "type", o.prompt, "of peak", "read", "of read:");
  for (size_t n : kBatches) std::printf(" %5zu", n);
  std::printf("  tokens\n");
  for (const Case& c : cases) {
    std::printf("%-6s %7.0f GOP/s %6.0f %% %5.1f GB/s %3s", info(c.weights.type).name, median(c.prompt) / 1e9,
                100 * median(c.prompt) / median(peak), median(c.read) / 1e9, "");
    for (const auto& batch : c.batch) std::printf(" %3.0f %%", 100 * median(batch) / median(c.read));
    std::printf("\n");
  }
}
