// How near attention comes to this machine's limits: a prompt against the peak rate of f32 multiply-adds, one token at the end
// of a context against that and the read bandwidth. Rounds alternate between cases and probes, so that a machine shared with
// others disturbs all alike; medians count.
//
//   attention_bench [--isa NAME] [--threads N] [--rounds N] [--heads N] [--kv-heads N] [--dim N] [--window N] [--prompt N]
//                   [--context N] [--layers N] [TYPE …]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "../../test/native/kernel_harness.h"
#include "cpu/kv_layout.h"
#include "thread_pool.h"
#include "timing.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

using namespace infernode;
using namespace infernode::test;
using bench::median;
using bench::seconds;
using bench::time_of;
using cpu::kPagePositions;
using cpu::KvSequence;

namespace {

using Attention = ops::Attention<Rows, Weight>;
using KvWrite = ops::KvWrite<Rows, Weight>;

// ---- the peak: twelve independent chains of multiply-adds in registers

constexpr size_t kChains = 12;
#if defined(__x86_64__)
__attribute__((target("avx512f"))) double multiply_add_512(size_t n) {
  __m512 sums[kChains], a = _mm512_set1_ps(1.0001f), b = _mm512_set1_ps(1e-9f);
  for (auto& sum : sums) sum = _mm512_setzero_ps();
  for (size_t i = 0; i < n; i++)
#pragma GCC unroll 12
    for (auto& sum : sums) {
      sum = _mm512_fmadd_ps(a, b, sum);
      asm volatile("" : "+v"(sum));
    }
  return 2.0 * 16 * kChains * static_cast<double>(n);
}
__attribute__((target("avx2,fma"))) double multiply_add_256(size_t n) {
  __m256 sums[kChains], a = _mm256_set1_ps(1.0001f), b = _mm256_set1_ps(1e-9f);
  for (auto& sum : sums) sum = _mm256_setzero_ps();
  for (size_t i = 0; i < n; i++)
#pragma GCC unroll 12
    for (auto& sum : sums) {
      sum = _mm256_fmadd_ps(a, b, sum);
      asm volatile("" : "+x"(sum));
    }
  return 2.0 * 8 * kChains * static_cast<double>(n);
}
#endif
double multiply_add_alone(size_t n) {
  float sums[kChains] = {};
  for (size_t i = 0; i < n; i++)
#pragma GCC unroll 12
    for (float& sum : sums) {
      sum = __builtin_fmaf(1.0001f, 1e-9f, sum);
      asm volatile("" : "+m"(sum));
    }
  return 2.0 * kChains * static_cast<double>(n);
}
// Operations done: the widest multiply-adds of a variant.
double multiply_add(const std::string& isa, size_t n) {
#if defined(__x86_64__)
  if (isa.rfind("avx512", 0) == 0) return multiply_add_512(n);
  if (isa.rfind("avx", 0) == 0) return multiply_add_256(n);
#endif
  return multiply_add_alone(n);
}

// ---- cases

struct Options {
  const KernelTable* kernels = variants().front();
  size_t threads = 1, rounds = 7, heads = 32, kv_heads = 4, head_dim = 64, window = 0, prompt = 2048, context = 8192,
         layers = 0;
  std::vector<TensorType> types;
};

// As many layers of a filled cache as no cache of the CPU holds, and one sequence that ends at `context`.
struct Case {
  TensorType type;
  size_t start, n_rows, layers;
  std::vector<double> times;

  Case(const Options& o, TensorType type, size_t start, size_t n_rows)
      : type(type), start(start), n_rows(n_rows), layers(n_rows > 1 ? 1 : o.layers) {
    const size_t layer = pages() * cpu::slot_bytes(type, o.kv_heads, o.head_dim);
    if (layers == 0) layers = std::max<size_t>(1, (size_t{160} << 20) / layer);
  }
  size_t pages() const { return (start + n_rows + kPagePositions - 1) / kPagePositions; }
  double positions(const Options& o) const {
    double sum = 0;
    for (size_t i = 0; i < n_rows; i++) {
      const size_t seen = start + i + 1;
      sum += static_cast<double>(o.window > 0 ? std::min(seen, o.window) : seen);
    }
    return sum;
  }
  double operations(const Options& o) const { return 4.0 * positions(o) * static_cast<double>(o.heads * o.head_dim); }
  // Bytes of keys and values that the last row sees.
  double bytes(const Options& o) const {
    const size_t last = start + n_rows, seen = o.window > 0 ? std::min(last, o.window) : last;
    return static_cast<double>(cpu::slot_bytes(type, o.kv_heads, o.head_dim)) * static_cast<double>(seen) / kPagePositions;
  }
};

struct Cache {
  std::vector<uint32_t> group, slot;
  std::vector<int32_t> pages;
  const int32_t* tables[1];
  size_t bytes;
  Bytes pool;
  Batch batch;
  KvSequence sequence;

  Cache(const Options& o, const Case& c)
      : group(c.layers, 0),
        slot(c.layers),
        pages(c.pages()),
        bytes(c.pages() * c.layers * cpu::slot_bytes(c.type, o.kv_heads, o.head_dim)),
        pool(bytes) {
    for (size_t i = 0; i < c.layers; i++) slot[i] = static_cast<uint32_t>(i);
    for (size_t i = 0; i < pages.size(); i++) pages[i] = static_cast<int32_t>(i);
    tables[0] = pages.data();
    const size_t slot_bytes = cpu::slot_bytes(c.type, o.kv_heads, o.head_dim);
    batch.cache = {pool.data(), slot_bytes * c.layers, slot_bytes, c.type, o.kv_heads, o.head_dim, group.data(), slot.data()};
    batch.sequences = &sequence;
    batch.n_sequences = 1;
    batch.n_threads = o.threads;
    // The first layer is written, the others are copies.
    const size_t n = c.start + c.n_rows;
    Random random(1);
    Matrix k = random_matrix(n, o.kv_heads * o.head_dim, random), v = random_matrix(n, o.kv_heads * o.head_dim, random);
    sequence = {0, n, 0, tables};
    execute(o.kernels->kv_write, KvWrite{k.rows(), v.rows(), 0}, batch);
    for (size_t page = 0; page < pages.size(); page++)
      for (size_t layer = 1; layer < c.layers; layer++) {
        std::byte* at = pool.data() + page * batch.cache.page_bytes;
        std::memcpy(at + layer * slot_bytes, at, slot_bytes);
      }
    sequence = {0, c.n_rows, c.start, tables};
    batch.n_tokens = c.n_rows;
  }
};

// One layer after the other in one run of the pool, as a step has them; seconds per layer.
double run_case(const Options& o, const Case& c, Cache& cache, ThreadPool& pool, Matrix& q, Matrix& out) {
  const float scale = 1 / std::sqrt(static_cast<float>(o.head_dim));
  Rows q_rows = q.rows(), out_rows = out.rows();
  q_rows.n = out_rows.n = c.n_rows;
  struct Step {
    const Kernel<Attention>& kernel;
    Attention op;
    Batch& batch;
    size_t sections_of_layer;
    std::vector<Bytes> scratch;
  } step = {o.kernels->attention,
            {q_rows, out_rows, 0, static_cast<uint32_t>(o.head_dim), scale, static_cast<uint32_t>(o.window), 0},
            cache.batch,
            1,
            {}};
  Bytes shared(step.kernel.shared_bytes(step.op, step.batch));
  step.batch.shared = shared.data();
  for (size_t i = 0; i < o.threads; i++) step.scratch.emplace_back(step.kernel.scratch_bytes(step.op, step.batch));
  const size_t items = step.kernel.items(step.op, step.batch), merges = step.kernel.merge_items(step.op, step.batch);
  std::vector<ThreadPool::Section> sections;
  for (size_t layer = 0; layer < c.layers; layer++) {
    const size_t pieces = o.threads * 8;
    sections.push_back({items, std::max<size_t>(1, items / pieces)});
    if (merges > 0) sections.push_back({merges, std::max<size_t>(1, merges / pieces)});
  }
  step.sections_of_layer = sections.size() / c.layers;
  const auto run = [](void* context, size_t section, size_t begin, size_t end, int thread) {
    Step& step = *static_cast<Step*>(context);
    Attention op = step.op;
    op.layer = static_cast<uint32_t>(section / step.sections_of_layer);
    const bool merge = section % step.sections_of_layer == 1;
    (merge ? step.kernel.merge : step.kernel.run)(op, step.batch, {begin, end}, step.scratch[thread].data());
  };
  const clockid_t clock = o.threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
  const double start = seconds(clock);
  pool.run(static_cast<int>(o.threads), sections.data(), sections.size(), run, &step);
  return (seconds(clock) - start) / static_cast<double>(c.layers);
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
    if (option.rfind("--", 0) != 0) {
      o.types.push_back(type_named(argv[i]));
      continue;
    }
    const char* value = ++i < argc ? argv[i] : "";
    size_t* number = option == "--threads"    ? &o.threads
                     : option == "--rounds"   ? &o.rounds
                     : option == "--heads"    ? &o.heads
                     : option == "--kv-heads" ? &o.kv_heads
                     : option == "--dim"      ? &o.head_dim
                     : option == "--window"   ? &o.window
                     : option == "--prompt"   ? &o.prompt
                     : option == "--context"  ? &o.context
                     : option == "--layers"   ? &o.layers
                                              : nullptr;
    if (number) {
      *number = std::strtoul(value, nullptr, 10);
    } else if (option == "--isa") {
      const auto& all = variants();
      const auto found =
          std::find_if(all.begin(), all.end(), [&](const KernelTable* k) { return std::strcmp(k->isa, value) == 0; });
      if (found == all.end()) std::fprintf(stderr, "this machine has no variant %s\n", value), std::exit(1);
      o.kernels = *found;
    } else {
      std::fprintf(stderr, "unknown option %s\n", option.c_str()), std::exit(1);
    }
  }
  if (o.types.empty()) o.types = {TensorType::kF32, TensorType::kF16, TensorType::kBf16, TensorType::kQ8_0};
  return o;
}

}  // namespace

int main(int argc, char** argv) {
  const Options o = parse(argc, argv);
  std::vector<Case> cases;
  for (TensorType type : o.types) {
    if (o.prompt > 0) cases.push_back(Case(o, type, 0, o.prompt));
    if (o.context > 0) cases.push_back(Case(o, type, o.context - 1, 1));
  }
  std::vector<std::unique_ptr<Cache>> caches;
  for (const Case& c : cases) caches.push_back(std::make_unique<Cache>(o, c));
  auto pool = ThreadPool::make(static_cast<int>(o.threads));
  if (!pool) std::exit(1);
  Random random(2);
  Matrix q = random_matrix(std::max<size_t>(o.prompt, 1), o.heads * o.head_dim, random), out(q.n, q.width);
  std::vector<double> peak, read;
  volatile uint64_t sink = 0;
  for (size_t round = 0; round < o.rounds; round++)
    for (size_t i = 0; i < cases.size(); i++) {
      Cache& cache = *caches[i];
      double operations = 0;
      const double time = time_of(o.threads, [&](size_t thread) {
        const double done = multiply_add(o.kernels->isa, 1000000);
        if (thread == 0) operations = done;
      });
      peak.push_back(operations * static_cast<double>(o.threads) / time);
      const size_t n = cache.bytes / o.threads;
      if (cases[i].n_rows == 1)
        read.push_back(static_cast<double>(n * o.threads) / time_of(o.threads, [&](size_t thread) {
                         sink = sink + o.kernels->read_probe(cache.pool.data() + thread * n, n);
                       }));
      cases[i].times.push_back(run_case(o, cases[i], cache, **pool, q, out));
    }
  std::printf("%s, %zu thread(s), %zu heads, %zu KV heads, dim %zu, window %zu, %zu rounds; ", o.kernels->isa, o.threads, o.heads,
              o.kv_heads, o.head_dim, o.window, o.rounds);
  std::printf("f32 peak %.0f GFLOP/s, read %.1f GB/s\n", median(peak) / 1e9, median(read) / 1e9);
  for (const Case& c : cases) {
    const double time = median(c.times), rate = c.operations(o) / time;
    std::printf("%-5s %5zu row(s) to %5zu: %9.1f us %7.1f GFLOP/s %4.0f %%", info(c.type).name, c.n_rows, c.start + c.n_rows,
                time * 1e6, rate / 1e9, 100 * rate / median(peak));
    if (c.n_rows == 1) std::printf(" %6.1f GB/s %4.0f %%", c.bytes(o) / time / 1e9, 100 * c.bytes(o) / time / median(read));
    std::printf("\n");
  }
}
