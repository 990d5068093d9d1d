// Attention and the KV cache of every ISA variant: against float64, and prefill = decode = chunked = batched = split, bit for
// bit.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <map>

#include "cpu/kv_layout.h"
#include "kernel_harness.h"

using namespace infernode;
using namespace infernode::test;
using cpu::kPagePositions;
using cpu::KvSequence;

namespace {

const TensorType kTypes[] = {TensorType::kF32, TensorType::kF16, TensorType::kBf16, TensorType::kQ8_0};

// x rounded to a binary format, ties to even: `bits` of precision, 2^lowest its smallest subnormal. Large values are not
// tested.
double rounded(double x, int bits, int lowest) {
  if (x == 0 || !std::isfinite(x)) return x;
  const double unit = std::ldexp(1.0, std::max(std::ilogb(x) - bits + 1, lowest));
  return std::nearbyint(x / unit) * unit;
}
double rounded_f16(double x) { return rounded(x, 11, -24); }

// A head as a q8_0 cache keeps it, before it is quantized: 16, or else 4, values multiplied by a Hadamard matrix.
template <class Float>
std::vector<Float> rotated(const Float* x, size_t n) {
  const size_t size = n % 16 == 0 ? 16 : n % 4 == 0 ? 4 : 1;
  std::vector<Float> out(x, x + n);
  for (size_t h = 1; h < size; h *= 2)
    for (size_t i = 0; i < n; i++) {
      if (i & h) continue;
      const Float a = out[i], b = out[i + h];
      out[i] = a + b;
      out[i + h] = a - b;
    }
  for (Float& value : out) value /= std::sqrt(static_cast<Float>(size));
  return out;
}

// What the cache keeps of a row of one head.
std::vector<double> kept(TensorType type, const float* row, size_t n) {
  const std::vector<float> turned = type == TensorType::kQ8_0 ? rotated(row, n) : std::vector<float>(row, row + n);
  const float* x = turned.data();
  std::vector<double> out(n);
  for (size_t i = 0; i < n; i++)
    out[i] = type == TensorType::kF32 ? x[i] : type == TensorType::kF16 ? rounded_f16(x[i]) : rounded(x[i], 8, -133);
  if (type != TensorType::kQ8_0) return out;
  for (size_t begin = 0; begin < n; begin += 32) {
    const size_t end = std::min(n, begin + 32);
    float largest = 0;
    for (size_t i = begin; i < end; i++) largest = std::max(largest, std::abs(x[i]));
    const float scale = static_cast<float>(rounded_f16(largest / 127)), inverse = 1 / scale;
    for (size_t i = begin; i < end; i++)
      out[i] = static_cast<float>(std::clamp(std::nearbyint(x[i] * inverse), -127.0f, 127.0f) * scale);
  }
  return out;
}

// What attention multiplies keys with, in f32: a row of one head's queries, scaled. Against q8_0 keys it is quantized as they
// are, but with f32 scales.
std::vector<double> as_multiplied(TensorType type, const float* row, size_t n, float scale) {
  const float log2_e = 1.44269504f;
  std::vector<float> x(n);
  for (size_t i = 0; i < n; i++) x[i] = row[i] * (scale * log2_e);
  if (type == TensorType::kQ8_0) x = rotated(x.data(), n);
  std::vector<double> out(n);
  for (size_t begin = 0; begin < n; begin += 32) {
    const size_t end = std::min(n, begin + 32);
    float largest = 0;
    for (size_t i = begin; i < end; i++) largest = std::max(largest, std::abs(x[i]));
    const float unit = largest / 127, inverse = 1 / unit;
    for (size_t i = begin; i < end; i++) {
      out[i] = type == TensorType::kQ8_0 ? std::nearbyint(x[i] * inverse) * unit : x[i];
      out[i] *= std::log(2.0);
    }
  }
  return out;
}

struct Config {
  TensorType type;
  size_t kv_heads, group, head_dim;
  uint32_t window = 0;
  size_t heads() const { return kv_heads * group; }
};

// The tokens of one sequence: all that attention reads of them.
struct Tokens {
  Matrix q, k, v;
  Tokens(const Config& c, size_t n, Random& random)
      : q(random_matrix(n, c.heads() * c.head_dim, random, 2)),
        k(random_matrix(n, c.kv_heads * c.head_dim, random)),
        v(random_matrix(n, c.kv_heads * c.head_dim, random)) {}
};

// A cache of two layer groups of two layers, filled with NaN, whose pages are handed out in a random order.
struct Cache {
  static constexpr uint32_t kLayer = 2;
  const Config& config;
  size_t page_bytes, n_pages;
  Bytes pool;
  std::vector<int32_t> free;
  const uint32_t group[4] = {0, 0, 1, 1}, slot[4] = {0, 1, 1, 0};

  Cache(const Config& c, size_t n_pages)
      : config(c),
        page_bytes(2 * cpu::slot_bytes(c.type, c.kv_heads, c.head_dim)),
        n_pages(n_pages),
        pool(n_pages * page_bytes) {
    for (size_t i = 0; i < n_pages; i++) free.push_back(static_cast<int32_t>(i));
    std::shuffle(free.begin(), free.end(), Random(99));
  }
  cpu::KvCacheView view() {
    return {pool.data(), page_bytes, page_bytes / 2, config.type, config.kv_heads, config.head_dim, group, slot};
  }
};

// A sequence in a cache. Pages that its window has passed are given back, and -1 stands for them.
struct Sequence {
  Tokens& tokens;
  Matrix out;
  size_t done = 0;
  std::vector<int32_t> pages;
  const int32_t* tables[2];

  Sequence(Tokens& tokens) : tokens(tokens), out(tokens.q.n, tokens.q.width) {}
  void make_room(Cache& cache, size_t n) {
    while (pages.size() * kPagePositions < done + n) {
      pages.push_back(cache.free.back());
      cache.free.pop_back();
    }
    const size_t window = cache.config.window;
    for (size_t p = 0; window > 0 && (p + 1) * kPagePositions + window <= done + 1; p++) {
      if (pages[p] < 0) continue;
      cache.free.insert(cache.free.begin(), pages[p]);
      pages[p] = -1;
    }
    tables[0] = nullptr;  // the other group's table must not be touched
    tables[1] = pages.data();
  }
};

// One step: `n[i]` more tokens of sequence i.
void step(const KernelTable& kernels, Cache& cache, std::vector<Sequence>& sequences, const std::vector<size_t>& n,
          size_t n_threads, size_t pieces) {
  const Config& c = cache.config;
  size_t total = 0;
  for (size_t count : n) total += count;
  Matrix q(total, c.heads() * c.head_dim), k(total, c.kv_heads * c.head_dim), v(total, c.kv_heads * c.head_dim),
      out(total, q.width);
  std::vector<KvSequence> batch_sequences;
  size_t row = 0;
  for (size_t s = 0; s < sequences.size(); s++) {
    Sequence& sequence = sequences[s];
    sequence.make_room(cache, n[s]);
    batch_sequences.push_back({row, n[s], sequence.done, sequence.tables});
    for (size_t i = 0; i < n[s]; i++, row++) {
      std::memcpy(q.row(row), sequence.tokens.q.row(sequence.done + i), q.width * 4);
      std::memcpy(k.row(row), sequence.tokens.k.row(sequence.done + i), k.width * 4);
      std::memcpy(v.row(row), sequence.tokens.v.row(sequence.done + i), v.width * 4);
    }
  }
  Batch batch;
  batch.n_tokens = total;
  batch.sequences = batch_sequences.data();
  batch.n_sequences = batch_sequences.size();
  batch.cache = cache.view();
  batch.n_threads = n_threads;
  execute(kernels.kv_write, {k.rows(), v.rows(), Cache::kLayer}, batch, pieces);
  const float scale = 1 / std::sqrt(static_cast<float>(c.head_dim));
  execute(kernels.attention, {q.rows(), out.rows(), Cache::kLayer, static_cast<uint32_t>(c.head_dim), scale, c.window, 0}, batch,
          pieces);
  REQUIRE(cache.pool.guard_intact());
  REQUIRE(out.bytes.guard_intact());
  row = 0;
  for (size_t s = 0; s < sequences.size(); s++) {
    for (size_t i = 0; i < n[s]; i++, row++)
      std::memcpy(sequences[s].out.row(sequences[s].done + i), out.row(row), out.width * 4);
    sequences[s].done += n[s];
  }
}

// All of one sequence, `chunk` tokens a step.
Matrix attend_in_chunks(const KernelTable& kernels, const Config& c, Tokens& tokens, size_t chunk, size_t n_threads = 1,
                        size_t pieces = 1) {
  Cache cache(c, (tokens.q.n + kPagePositions - 1) / kPagePositions);
  std::vector<Sequence> sequences;
  sequences.emplace_back(tokens);
  while (sequences[0].done < tokens.q.n)
    step(kernels, cache, sequences, {std::min(chunk, tokens.q.n - sequences[0].done)}, n_threads, pieces);
  return std::move(sequences[0].out);
}

// The largest error of `out` against float64 over what the cache keeps, at the given positions.
double error_of(const Config& c, Tokens& tokens, Matrix& out, const std::vector<size_t>& positions) {
  double worst = 0;
  const float scale = 1 / std::sqrt(static_cast<float>(c.head_dim));
  for (size_t head : {size_t{0}, c.heads() - 1}) {
    const size_t kv = head / c.group, E = c.head_dim;
    std::vector<std::vector<double>> keys, values;
    for (size_t p = 0; p < tokens.k.n; p++) {
      keys.push_back(kept(c.type, tokens.k.f32(p) + kv * E, E));
      values.push_back(kept(c.type, tokens.v.f32(p) + kv * E, E));
    }
    for (size_t position : positions) {
      const size_t first = c.window > 0 && position + 1 > c.window ? position + 1 - c.window : 0;
      std::vector<double> weights, expected(E);
      const std::vector<double> query = as_multiplied(c.type, tokens.q.f32(position) + head * E, E, scale);
      double sum = 0;
      for (size_t p = first; p <= position; p++) {
        double score = 0;
        for (size_t e = 0; e < E; e++) score += query[e] * keys[p][e];
        weights.push_back(std::exp(score));
        sum += weights.back();
      }
      for (size_t p = first; p <= position; p++)
        for (size_t e = 0; e < E; e++) expected[e] += weights[p - first] / sum * values[p][e];
      if (c.type == TensorType::kQ8_0) expected = rotated(expected.data(), E);
      for (size_t e = 0; e < E; e++) worst = std::max(worst, std::abs(out.f32(position)[head * E + e] - expected[e]));
    }
  }
  return std::isnan(out.f32(positions[0])[0]) ? INFINITY : worst;
}

// Every variant of this machine; the scalar one is slow, and gets `less`.
template <class Body>
void on_each_variant(Body body) {
  for (const KernelTable* kernels : variants()) {
    INFO("variant ", std::string(kernels->isa));
    body(*kernels, std::string(kernels->isa) == "scalar");
  }
}

}  // namespace

TEST_CASE("attention matches float64 for every KV type, head size and group") {
  std::map<std::string, Matrix> first;  // and every variant computes the same bits
  on_each_variant([&](const KernelTable& kernels, bool) {
    Random random(1);
    for (TensorType type : kTypes)
      for (auto [kv_heads, group, head_dim] : {std::tuple<size_t, size_t, size_t>{1, 1, 1},
                                               {2, 1, 8},
                                               {1, 4, 16},
                                               {2, 2, 20},
                                               {1, 3, 32},
                                               {1, 7, 33},
                                               {1, 2, 64},
                                               {1, 1, 80},
                                               {1, 5, 96},
                                               {1, 8, 100},
                                               {1, 4, 128},
                                               {1, 4, 256},
                                               {1, 2, 320},
                                               {1, 71, 8}})
        for (size_t n : {1, 67, 131}) {
          const Config c = {type, kv_heads, group, head_dim};
          INFO(std::string(info(type).name), " ", kv_heads, " x ", group, " heads of ", head_dim, ", ", n, " tokens");
          Tokens tokens(c, n, random);
          Matrix out = attend_in_chunks(kernels, c, tokens, n);
          CHECK(error_of(c, tokens, out, {0, n / 2, n - 1}) < 4e-6);
          const std::string key =
              std::to_string(int(type)) + " " + std::to_string(head_dim * 1000 + group) + " " + std::to_string(n);
          auto found = first.find(key);
          if (found == first.end())
            first.emplace(key, std::move(out));
          else
            CHECK(found->second.same(out));
        }
  });
}

TEST_CASE("prefill, decode and any chunks give the same bits, at any number of threads and pieces") {
  on_each_variant([&](const KernelTable& kernels, bool scalar) {
    Random random(2);
    for (TensorType type : kTypes)
      for (uint32_t window : {0, 3, 64, 100})
        for (auto [kv_heads, group, head_dim] : {std::tuple<size_t, size_t, size_t>{2, 4, 16}, {1, 7, 20}, {1, 1, 64}}) {
          const Config c = {type, kv_heads, group, head_dim, window};
          INFO(std::string(info(type).name), " ", kv_heads, " x ", group, " heads of ", head_dim, ", window ", window);
          const size_t n = scalar ? 150 : 300;
          Tokens tokens(c, n, random);
          Matrix prefill = attend_in_chunks(kernels, c, tokens, n);
          CHECK(error_of(c, tokens, prefill, {0, 63, 64, n - 1}) < 4e-6);
          Matrix decode = attend_in_chunks(kernels, c, tokens, 1);
          CHECK(decode.same(prefill));
          Matrix chunked = attend_in_chunks(kernels, c, tokens, 37, 4, 5);
          CHECK(chunked.same(prefill));
          Matrix in_pieces = attend_in_chunks(kernels, c, tokens, n, 16, 13);
          CHECK(in_pieces.same(prefill));
        }
  });
}

TEST_CASE("a long context split over threads and merged gives the bits of the unsplit one") {
  on_each_variant([&](const KernelTable& kernels, bool scalar) {
    Random random(3);
    for (TensorType type : kTypes)
      for (uint32_t window : {0, 700}) {
        const Config c = {type, 1, 4, 32, window};
        const size_t n = scalar ? 1100 : 2300;
        INFO(std::string(info(type).name), " window ", window);
        Tokens tokens(c, n, random);
        Matrix prefill = attend_in_chunks(kernels, c, tokens, n);
        CHECK(error_of(c, tokens, prefill, {511, 512, n - 1}) < 4e-6);
        Cache cache(c, (n + 63) / 64);
        std::vector<Sequence> sequences;
        sequences.emplace_back(tokens);
        step(kernels, cache, sequences, {n - 9}, 2, 3);
        for (size_t n_threads : {1, 2, 7})
          for (size_t i = 0; i < 3; i++) step(kernels, cache, sequences, {1}, n_threads, 4);
        CHECK(sequences[0].out.same(prefill));
      }
  });
}

TEST_CASE("sequences in one batch give the bits that each gives alone") {
  on_each_variant([&](const KernelTable& kernels, bool) {
    Random random(4);
    for (TensorType type : kTypes)
      for (uint32_t window : {0, 70}) {
        const Config c = {type, 2, 2, 24, window};
        const size_t lengths[] = {1, 64, 200, 600};
        std::vector<Tokens> tokens;
        for (size_t n : lengths) tokens.emplace_back(c, n, random);
        Cache cache(c, 20);
        std::vector<Sequence> together;
        for (Tokens& t : tokens) together.emplace_back(t);
        // The long one decodes beside the others' prompts; some have no rows in some steps.
        step(kernels, cache, together, {0, 0, 30, 590}, 2, 3);
        step(kernels, cache, together, {1, 10, 100, 1}, 3, 2);
        step(kernels, cache, together, {0, 54, 69, 1}, 8, 7);
        while (together[3].done < 600) step(kernels, cache, together, {0, 0, together[2].done < 200, 1}, 2, 2);
        for (size_t s = 0; s < 4; s++) {
          Matrix alone = attend_in_chunks(kernels, c, tokens[s], lengths[s]);
          CHECK(together[s].out.same(alone));
        }
      }
  });
}

TEST_CASE("a NaN in a query, key or value reaches the rows that read it and no others") {
  on_each_variant([&](const KernelTable& kernels, bool) {
    Random random(5);
    for (TensorType type : kTypes)
      for (int where = 0; where < 3; where++) {
        const Config c = {type, 1, 3, 16, 40};
        Tokens tokens(c, 100, random);
        Matrix clean = attend_in_chunks(kernels, c, tokens, 100);
        (where == 0 ? tokens.q : where == 1 ? tokens.k : tokens.v).f32(50)[3] = std::numeric_limits<float>::quiet_NaN();
        Matrix out = attend_in_chunks(kernels, c, tokens, 100);
        for (size_t p = 0; p < 100; p++) {
          const bool reads = where == 0 ? p == 50 : p >= 50 && p < 90;
          if (reads) {
            CHECK(std::isnan(out.f32(p)[3]));
          } else {
            CHECK(std::memcmp(out.row(p), clean.row(p), out.width * 4) == 0);
          }
        }
      }
  });
}

TEST_CASE("f16 and bf16 are converted as IEEE 754 says, both ways") {
  on_each_variant([&](const KernelTable& kernels, bool) {
    for (TensorType type : {TensorType::kF16, TensorType::kBf16}) {
      const Config c = {type, 1, 1, 64};
      const bool f16 = type == TensorType::kF16;
      // One position sees itself alone, so its output is its value as kept.
      const auto stored = [&](const std::vector<float>& values) {
        Random random(6);
        Tokens tokens(c, 1, random);
        std::vector<float> out;
        for (size_t i = 0; i < values.size(); i += 64) {
          for (size_t j = 0; j < 64; j++) tokens.v.f32(0)[j] = i + j < values.size() ? values[i + j] : 0;
          Matrix kept_values = attend_in_chunks(kernels, c, tokens, 1);
          for (size_t j = 0; j < 64 && i + j < values.size(); j++) out.push_back(kept_values.f32(0)[j]);
        }
        return out;
      };
      std::vector<float> values;
      for (uint32_t bits = 0; bits < 0x7c00; bits += f16 ? 7 : 31) {
        // A value of the format, the middle to the next, and the neighbours of that.
        const auto decode = [&](uint32_t b) -> double {
          if (!f16) return std::bit_cast<float>(b << 16);
          return b < 0x400 ? std::ldexp(double(b), -24) : std::ldexp(double(0x400 | (b & 0x3ff)), int(b >> 10) - 25);
        };
        const double x = decode(bits), middle = (x + decode(bits + 1)) / 2;
        if (f16 && bits + 1 >= 0x7c00) continue;
        for (double y : {x, middle}) {
          const float f = static_cast<float>(y);
          for (float z : {f, std::nextafter(f, 1e38f), std::nextafter(f, -1e38f)}) {
            values.push_back(z);
            values.push_back(-z);
          }
        }
      }
      const std::vector<float> out = stored(values);
      size_t wrong = 0;
      for (size_t i = 0; i < values.size(); i++)
        wrong += out[i] != (f16 ? rounded_f16(values[i]) : rounded(values[i], 8, -133));
      CHECK(wrong == 0);
      const float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
      const std::vector<float> special =
          stored({infinity, -infinity, nan, -nan, std::bit_cast<float>(0x7f800001u), 65519, 65520});
      CHECK(special[0] == infinity);
      CHECK(special[1] == -infinity);
      for (size_t i : {2, 3, 4}) CHECK(std::isnan(special[i]));
      if (f16) CHECK(special[5] == 65504);
      if (f16) CHECK(special[6] == infinity);
    }
  });
}
