// The op `linear` and dequantization on every ISA variant: against float64, against the scalar variant bit by bit, and the
// block formats against golden blocks. Weights end where readable memory ends, so that any read past them is a crash.
#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <fstream>
#include <string_view>

#include "amx_emulator.h"
#include "kernel_harness.h"
#include "quant/activations.h"
#include "quant/q8_0.h"

using namespace infernode;
using namespace infernode::test;

namespace {

using Linear = ops::Linear<Rows, Weight>;

const TensorType kWeightTypes[] = {TensorType::kF32,  TensorType::kF16,  TensorType::kBf16, TensorType::kQ4_0,
                                   TensorType::kQ4_1, TensorType::kQ5_0, TensorType::kQ5_1, TensorType::kQ8_0,
                                   TensorType::kQ2_K, TensorType::kQ3_K, TensorType::kQ4_K, TensorType::kQ5_K,
                                   TensorType::kQ6_K, TensorType::kIq4_Nl, TensorType::kIq4_Xs, TensorType::kMxfp4};

// Where a block has f16 scales.
std::vector<size_t> scale_offsets(TensorType type) {
  switch (type) {
    case TensorType::kQ4_1:
    case TensorType::kQ5_1:
    case TensorType::kQ4_K:
    case TensorType::kQ5_K: return {0, 2};
    case TensorType::kQ2_K: return {80, 82};
    case TensorType::kQ3_K: return {108};
    case TensorType::kQ6_K: return {208};
    case TensorType::kF32:
    case TensorType::kF16:
    case TensorType::kBf16:
    case TensorType::kMxfp4: return {};
    default: return {0};
  }
}

// Bytes that end at a page which cannot be read, and so start at any address.
class Guarded {
 public:
  explicit Guarded(size_t n) : size_(n) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE)), used = (n + page - 1) / page * page;
    mapped_ = used + page;
    void* memory = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    base_ = static_cast<std::byte*>(memory);
    REQUIRE(mprotect(base_ + used, page, PROT_NONE) == 0);
    data_ = base_ + used - n;
  }
  Guarded(const Guarded&) = delete;
  ~Guarded() { munmap(base_, mapped_); }
  std::byte* data() { return data_; }
  size_t size() const { return size_; }

 private:
  std::byte *base_, *data_;
  size_t size_, mapped_;
};

// A weight matrix with nothing after its last byte.
struct WeightMatrix {
  Guarded bytes;
  Weight weight;

  // Random bytes: all quants, all sub-scales. Sane f16 scales unless hostile; then any bit pattern.
  WeightMatrix(TensorType type, size_t rows, size_t cols, Random& random, bool hostile = false)
      : bytes(rows * row_bytes(type, cols)) {
    const size_t row = row_bytes(type, cols), block = info(type).block_bytes;
    std::byte* data = bytes.data();
    for (size_t i = 0; i < rows * row; i++) data[i] = static_cast<std::byte>(random());
    std::normal_distribution<float> normal(0, 0.05f);
    if (!hostile)
      for (size_t at = 0; at < rows * row; at += block) {
        for (size_t offset : scale_offsets(type)) {
          const quant::Half scale = quant::to_half(normal(random));
          std::memcpy(data + at + offset, &scale, 2);
        }
        const float x = normal(random);
        const quant::Half half = quant::to_half(x);
        if (type == TensorType::kMxfp4) data[at] = static_cast<std::byte>(120 + random() % 8);  // near 1
        if (type == TensorType::kF32) std::memcpy(data + at, &x, 4);
        if (type == TensorType::kF16) std::memcpy(data + at, &half, 2);
        if (type == TensorType::kBf16) std::memcpy(data + at, reinterpret_cast<const std::byte*>(&x) + 2, 2);
      }
    weight = {data, rows, cols, row, type, 0};
  }
};

// x as f32 and quantized, as a plan has it for weights of any type.
struct Input {
  Matrix f32, a32, a256;
  bool blocks32, blocks256;

  Input(size_t n, size_t width, Random& random)
      : f32(random_matrix(n, width, random)),
        a32(n, width, TensorType::kA8_32),
        a256(n, width, TensorType::kA8_256),
        blocks32(width % 32 == 0),
        blocks256(width % 256 == 0) {
    const KernelTable& scalar = *variants().back();
    ops::Quantize<Rows, Weight> op = {f32.rows(), {}};
    if (blocks32) op.out[op.out.n++] = a32.rows();
    if (blocks256) op.out[op.out.n++] = a256.rows();
    if (op.out.n) execute(scalar.quantize, op);
  }
  ops::List<Rows> rows(size_t n) {
    ops::List<Rows> list;
    list[list.n++] = f32.rows();
    if (blocks32) list[list.n++] = a32.rows();
    if (blocks256) list[list.n++] = a256.rows();
    for (Rows& rows : list) rows.n = n;
    return list;
  }
  // Value k of token t as weights of this type read it.
  double value(TensorType type, size_t t, size_t k) {
    if (info(type).activations == TensorType::kF32) return f32.f32(t)[k];
    if (info(type).activations == TensorType::kA8_32) {
      const A8_32& block = a8_32_row(a32.row(t))[k / 32];
      return double{block.scale} * block.values[k % 32];
    }
    const A8_256& block = a8_256_row(a256.row(t))[k / 256];
    return double{block.scale} * block.values[k % 256];
  }
};

bool same_number(float a, float b) { return (a != a && b != b) || std::memcmp(&a, &b, sizeof a) == 0; }

// Outputs of `got` that are not bit for bit those of the same rows of `expected`.
size_t n_different(Matrix& got, Matrix& expected) {
  size_t n = 0;
  for (size_t t = 0; t < got.n; t++)
    for (size_t r = 0; r < got.width; r++) n += !same_number(got.f32(t)[r], expected.f32(t)[r]);
  return n;
}

Linear linear(ops::List<Rows> x, const Weight& weight, Matrix& out) {
  return {x, {}, {{weight}, 1}, {}, {{out.rows()}, 1}, ops::Epilogue::kNone};
}

const size_t kTokens[] = {0, 1, 2, 3, 4, 5, 8, 9, 13, 33, 70};
constexpr size_t kMaxTokens = 70;

// Subnormals are zeros to the bf16 dot product.
float flushed(float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }
float bf16_at(const std::byte* row, size_t k) {
  uint16_t half;
  std::memcpy(&half, row + 2 * k, 2);
  return flushed(std::bit_cast<float>(static_cast<uint32_t>(half) << 16));
}
float rounded_to_bf16(float x) {
  const uint32_t pattern = std::bit_cast<uint32_t>(flushed(x));
  return std::bit_cast<float>((pattern + 0x7fff + (pattern >> 16 & 1)) & 0xffff0000);
}

// What a variant with dot products of bf16 pairs computes: of each pair the second product first (Intel SDM, VDPBF16PS).
Matrix bf16_pairs_product(const WeightMatrix& w, Input& x) {
  Matrix out(kMaxTokens, w.weight.rows);
  for (size_t t = 0; t < kMaxTokens; t++)
    for (size_t r = 0; r < w.weight.rows; r++) {
      const std::byte* row = w.weight.data + r * w.weight.row_bytes;
      float acc = 0;
      for (size_t k = 0; k < w.weight.cols; k += 2)
        for (size_t i : {k + 1, k})
          acc = i < w.weight.cols ? flushed(std::fma(bf16_at(row, i), rounded_to_bf16(x.f32.f32(t)[i]), acc)) : acc + 0.0f;
      out.f32(t)[r] = acc;
    }
  return out;
}


// What a variant with tiles of bf16 computes: of 32 values the even and the odd products apart (Intel SDM, TDPBF16PS).
Matrix bf16_tiles_product(const WeightMatrix& w, Input& x) {
  Matrix out(kMaxTokens, w.weight.rows);
  for (size_t t = 0; t < kMaxTokens; t++)
    for (size_t r = 0; r < w.weight.rows; r++) {
      const std::byte* row = w.weight.data + r * w.weight.row_bytes;
      float acc = 0;
      for (size_t first = 0; first < w.weight.cols; first += 32) {
        float halves[2] = {0, 0};
        for (size_t k = first; k < first + 32; k++) {
          const bool present = k < w.weight.cols;
          const float weight = present ? bf16_at(row, k) : 0, value = present ? rounded_to_bf16(x.f32.f32(t)[k]) : 0;
          halves[k % 2] = flushed(std::fma(weight, value, halves[k % 2]));
        }
        acc = flushed(acc + flushed(halves[0] + halves[1]));
      }
      out.f32(t)[r] = acc;
    }
  return out;
}

// Every variant and number of tokens gives the bits of the scalar variant (bf16 in pairs or tiles: those of their own contracts);
// returns the scalar variant's.
Matrix check_product(WeightMatrix& w, Input& x, const std::vector<size_t>& n_tokens) {
  Matrix of_scalar(kMaxTokens, w.weight.rows);
  execute(variants().back()->linear, linear(x.rows(kMaxTokens), w.weight, of_scalar));
  for (const KernelTable* kernels : variants()) {
    const std::string_view isa = w.weight.type == TensorType::kBf16 ? kernels->isa : "";
    const auto own = isa == "amx" ? bf16_tiles_product : isa == "avx512_bf16" ? bf16_pairs_product : nullptr;
    Matrix of_own = own ? own(w, x) : Matrix(0, 1);
    Matrix& expected = own ? of_own : of_scalar;
    for (size_t n : n_tokens) {
      for (bool in_step : {false, true}) {  // which has a workspace
        Matrix out(n, w.weight.rows);
        Batch batch;
        batch.n_tokens = in_step ? n : 0;
        execute(kernels->linear, linear(x.rows(n), w.weight, out), batch, n % 2 ? 3 : 1);
        CHECK_MESSAGE(n_different(out, expected) == 0, kernels->isa, ", ", info(w.weight.type).name, " [", w.weight.rows, ", ",
                      w.weight.cols, "], tokens ", n, in_step ? " of a step" : "");
      }
    }
  }
  return of_scalar;
}

std::vector<size_t> widths(TensorType type) {
  const size_t block = info(type).block_values;
  if (block == 1) return {1, 7, 16, 100, 300, 513};
  if (block == 32) return {32, 64, 96, 160, 1056, 4128};
  return {256, 512, 1280, 4352};
}

struct Golden {
  std::vector<uint8_t> bytes;
  std::vector<float> values, input;
  std::vector<uint8_t> quantized;
};

std::string goldens_folder() {
  if (const char* folder = std::getenv("INFERNODE_GOLDENS")) return folder;
  for (const char* folder : {"test/fixtures/goldens", "../shared/goldens", "../test/fixtures/goldens", "../../shared/goldens"})
    if (std::ifstream(std::string(folder) + "/quant/q4_0.safetensors")) return folder;
  return "";
}

// Tensors of a safetensors file: eight bytes of header length, the header in JSON, the data.
bool read_golden(const std::string& name, Golden& golden) {
  std::ifstream file(goldens_folder() + "/quant/" + name + ".safetensors", std::ios::binary);
  const std::string all((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (all.size() < 8) return false;
  uint64_t n;
  std::memcpy(&n, all.data(), 8);
  const std::string header = all.substr(8, n);
  const auto tensor = [&](const char* key, auto& out) {
    const size_t at = header.find("\"" + std::string(key) + "\"");
    if (at == std::string::npos) return;
    const size_t offsets = header.find("data_offsets", at) + 15;
    const size_t begin = std::stoul(header.substr(offsets)), end = std::stoul(header.substr(header.find(',', offsets) + 1));
    out.resize((end - begin) / sizeof out[0]);
    std::memcpy(out.data(), all.data() + 8 + n + begin, end - begin);
  };
  tensor("bytes", golden.bytes);
  tensor("dequantized", golden.values);
  tensor("input", golden.input);
  tensor("quantized", golden.quantized);
  return true;
}

}  // namespace

TEST_CASE("linear gives the bits of the scalar variant for every type, shape and number of tokens") {
  Random random(1);
  for (TensorType type : kWeightTypes)
    for (size_t cols : widths(type)) {
      Input x(kMaxTokens, cols, random);
      for (size_t rows : {0, 1, 15, 16, 17, 33, 100}) {
        if (cols > 600 && rows != 17 && rows != 33) continue;
        WeightMatrix w(type, rows, cols, random);
        const bool all = rows == 17 || rows == 33;
        check_product(w, x, all ? std::vector<size_t>(std::begin(kTokens), std::end(kTokens)) : std::vector<size_t>{1, 3, 33});
      }
    }
}

TEST_CASE("linear carries its sums over rows longer than any piece that a variant takes at once") {
  Random random(5);
  Input x(kMaxTokens, 33000, random);
  WeightMatrix w(TensorType::kBf16, 32, 33000, random);
  check_product(w, x, {1, 9});
}

TEST_CASE("linear gives the same bits wherever a row of floats begins") {
  Random random(6);
  for (TensorType type : {TensorType::kF32, TensorType::kF16, TensorType::kBf16})
    for (size_t cols : {32, 64, 160, 352}) {
      Input x(kMaxTokens, cols, random);
      WeightMatrix w(type, 64, cols, random);
      Bytes moved(64 * w.weight.row_bytes + 128);
      const std::byte* first = w.weight.data;
      for (size_t offset : {2, 4, 16, 32, 36, 60}) {
        std::memcpy(moved.data() + offset, first, 64 * w.weight.row_bytes);
        w.weight.data = moved.data() + offset;
        check_product(w, x, {1, 2, 3, 4, 5, 9});
      }
      w.weight.data = first;
    }
}

TEST_CASE("linear leaves no tiles configured") {
  Random random(4);
  for (TensorType type : {TensorType::kQ8_0, TensorType::kQ4_K, TensorType::kBf16}) {
    Input x(kMaxTokens, 256, random);
    WeightMatrix w(type, 33, 256, random);
    for (const KernelTable* kernels : variants()) {
      Matrix out(kMaxTokens, 33);
      execute(kernels->linear, linear(x.rows(kMaxTokens), w.weight, out));
      CHECK(!tiles_in_use());
    }
  }
}

TEST_CASE("linear matches float64 over the decoded weights and activations") {
  Random random(2);
  const KernelTable& scalar = *variants().back();
  for (TensorType type : kWeightTypes)
    for (size_t cols : {256, 768}) {
      Input x(kMaxTokens, cols, random);
      WeightMatrix w(type, 33, cols, random);
      Matrix out = check_product(w, x, {1, 5});
      std::vector<float> row(cols);
      double worst = 0;
      for (size_t r = 0; r < w.weight.rows; r++) {
        scalar.dequantize(w.weight, r, row.data());
        for (size_t t = 0; t < 3; t++) {
          double sum = 0, magnitude = 0;
          for (size_t k = 0; k < cols; k++) {
            const double product = row[k] * x.value(type, t, k);
            sum += product;
            magnitude += std::abs(product);
          }
          worst = std::max(worst, std::abs(out.f32(t)[r] - sum) / magnitude);
        }
      }
      // At most one rounding per value, each within 2^-24 of a partial sum.
      CHECK_MESSAGE(worst < static_cast<double>(cols) * 0x1p-24, info(type).name);
    }
}

TEST_CASE("linear stays defined and the same on hostile weights") {
  Random random(3);
  for (TensorType type : kWeightTypes)
    for (size_t cols : {256, 1280}) {
      Input x(kMaxTokens, cols, random);
      WeightMatrix w(type, 33, cols, random, true);
      check_product(w, x, {1, 4, 33});
    }
  // The largest magnitudes: weights of -128, activations of ±127.
  Input x(kMaxTokens, 256, random);
  for (size_t t = 0; t < kMaxTokens; t++)
    for (size_t k = 0; k < 256; k++) x.f32.f32(t)[k] = t % 2 ? 1.0f : -1.0f;
  execute(variants().back()->quantize, ops::Quantize<Rows, Weight>{x.f32.rows(), {{x.a32.rows(), x.a256.rows()}, 2}});
  for (TensorType type : kWeightTypes) {
    if (info(type).activations == TensorType::kF32) continue;
    for (int byte : {0x00, 0x7f, 0x80, 0xff}) {
      WeightMatrix w(type, 33, 256, random);
      std::memset(w.bytes.data(), byte, w.bytes.size());
      const quant::Half one = quant::to_half(1);
      for (size_t at = 0; at < w.bytes.size(); at += info(type).block_bytes)
        for (size_t offset : scale_offsets(type)) std::memcpy(w.bytes.data() + at + offset, &one, 2);
      check_product(w, x, {1, 4, 33});
    }
  }
}

TEST_CASE("linear adds biases and a residual in place, over weights of different types") {
  Random random(4);
  const size_t cols = 512, n = 20;
  Input x(n, cols, random);
  Batch step;
  step.n_tokens = n;
  const TensorType types[][3] = {{TensorType::kQ8_0, TensorType::kQ4_K, TensorType::kBf16},
                                 {TensorType::kF32, TensorType::kF16, TensorType::kF32}};
  for (const auto& [type_a, type_b, type_c] : types) {
    WeightMatrix a(type_a, 40, cols, random), b(type_b, 17, cols, random), c(type_c, 64, cols, random);
    Matrix bias_a = random_matrix(1, 40, random), bias_c = random_matrix(1, 64, random), residual = random_matrix(n, 40, random);
    for (const KernelTable* kernels : variants()) {
      Matrix plain_a(n, 40), plain_b(n, 17), plain_c(n, 64), out_a = random_matrix(n, 40, random), out_b(n, 17), out_c(n, 64);
      execute(kernels->linear, linear(x.rows(n), a.weight, plain_a));
      execute(kernels->linear, linear(x.rows(n), b.weight, plain_b));
      execute(kernels->linear, linear(x.rows(n), c.weight, plain_c));
      for (size_t t = 0; t < n; t++) std::memcpy(out_a.row(t), residual.row(t), 40 * sizeof(float));
      Linear op = {x.rows(n),
                   out_a.rows(),
                   {{a.weight, b.weight, c.weight}, 3},
                   {{vector_weight(bias_a), {}, vector_weight(bias_c)}, 3},
                   {{out_a.rows(), out_b.rows(), out_c.rows()}, 3},
                   ops::Epilogue::kAdd};
      execute(kernels->linear, op, step, 3);
      size_t wrong = n_different(out_b, plain_b);
      for (size_t t = 0; t < n; t++) {
        for (size_t r = 0; r < 40; r++) wrong += out_a.f32(t)[r] != (plain_a.f32(t)[r] + bias_a.f32(0)[r]) + residual.f32(t)[r];
        for (size_t r = 0; r < 64; r++) wrong += out_c.f32(t)[r] != plain_c.f32(t)[r] + bias_c.f32(0)[r];
      }
      CHECK_MESSAGE(wrong == 0, kernels->isa);
    }
  }
}

TEST_CASE("a gated linear is two linears and the gate, bit for bit") {
  Random random(5);
  const size_t cols = 256;
  Input x(33, cols, random);
  // Weights of floats in a step: words of one kind, and of two.
  const TensorType types[][2] = {
      {TensorType::kQ4_0, TensorType::kQ6_K}, {TensorType::kF32, TensorType::kF16}, {TensorType::kBf16, TensorType::kF32}};
  for (const auto& [type_of_gate, type_of_up] : types) {
    WeightMatrix gate(type_of_gate, 45, cols, random), up(type_of_up, 45, cols, random);
    Matrix bias = random_matrix(1, 45, random);
    for (const KernelTable* kernels : variants())
      for (size_t n : {1, 9, 33})
        for (bool swiglu : {true, false}) {
          Matrix gates(n, 45), ups(n, 45), expected(n, 45), out(n, 45);
          Linear apart = {x.rows(n),
                          {},
                          {{gate.weight, up.weight}, 2},
                          {{vector_weight(bias), {}}, 2},
                          {{gates.rows(), ups.rows()}, 2},
                          ops::Epilogue::kNone};
          execute(kernels->linear, apart, {}, 2);
          if (swiglu)
            execute(kernels->swiglu, {gates.rows(), ups.rows(), expected.rows()});
          else
            execute(kernels->geglu, {gates.rows(), ups.rows(), expected.rows()});
          Linear fused = apart;
          fused.out = {{out.rows()}, 1};
          fused.epilogue = swiglu ? ops::Epilogue::kSwiglu : ops::Epilogue::kGeglu;
          Batch step;
          step.n_tokens = n;
          execute(kernels->linear, fused, step, 2);
          CHECK_MESSAGE(n_different(out, expected) == 0, kernels->isa);
        }
  }
}

TEST_CASE("dequantize matches the golden blocks within one rounding") {
  if (goldens_folder().empty()) {
    MESSAGE("skipped: no golden blocks; set INFERNODE_GOLDENS");
    return;
  }
  for (TensorType type : kWeightTypes) {
    if (type == TensorType::kF32) continue;
    Golden golden;
    REQUIRE_MESSAGE(read_golden(info(type).name, golden), info(type).name);
    const size_t cols = 512, rows = golden.values.size() / cols;
    for (const KernelTable* kernels : variants()) {
      std::vector<float> out(cols);
      double worst = 0;
      for (size_t r = 0; r < rows; r++) {
        kernels->dequantize(
            {reinterpret_cast<const std::byte*>(golden.bytes.data()), rows, cols, row_bytes(type, cols), type, 0}, r,
            out.data());
        for (size_t i = 0; i < cols; i++) {
          const double expected = golden.values[r * cols + i];
          if (!same_number(out[i], static_cast<float>(expected)))
            worst = std::max(worst, std::abs(out[i] - expected) / std::abs(expected));
        }
      }
      CHECK_MESSAGE(worst <= 0x1p-23, kernels->isa, ", ", info(type).name);
    }
  }
}

TEST_CASE("q8_0 is encoded as the golden blocks are") {
  if (goldens_folder().empty()) return;
  Golden q8;
  REQUIRE(read_golden("q8_0", q8));
  size_t wrong = 0;
  for (size_t b = 0; b < q8.input.size() / 32; b++) {
    quant::Q8_0 block;
    quant::encode(q8.input.data() + b * 32, block);
    wrong += std::memcmp(&block, q8.quantized.data() + b * sizeof block, sizeof block) != 0;
  }
  CHECK(wrong == 0);
}

namespace {

// The product of every chunk by the kernel, in two parts each.
void run_product(const KernelTable& kernels, const cpu::MatrixProduct& p) {
  const cpu::ProductKernel& kernel = kernels.tensor.product;
  Bytes packed(kernel.packed_bytes(p) + 64), scratch(kernel.scratch_bytes(p));
  const size_t packs = kernel.pack_items(p), items = kernel.items(p);
  kernel.pack(p, packs / 2, packs, packed.data(), scratch.data());
  kernel.pack(p, 0, packs / 2, packed.data(), scratch.data());
  kernel.run(p, items / 2, items, packed.data(), scratch.data());
  kernel.run(p, 0, items / 2, packed.data(), scratch.data());
  CHECK(packed.guard_intact());
  CHECK(scratch.guard_intact());
}

cpu::MatrixProduct product_of(Matrix& a, const Weight& b, Matrix& out) {
  cpu::MatrixProduct p;
  p.m = out.n, p.n = b.rows, p.k = b.cols;
  p.a = a.row(0), p.a_stride = a.stride;
  p.b = b.data, p.b_stride = b.row_bytes, p.b_type = b.type;
  p.out = out.row(0), p.out_stride = out.stride;
  return p;
}

}  // namespace

TEST_CASE("products of float matrices give the bits of linear, whichever side of b lies side by side") {
  Random random(6);
  const size_t shapes[][3] = {{1, 1, 1},  {2, 16, 7},   {11, 17, 16},  {12, 33, 100}, {13, 32, 385},
                              {25, 31, 384}, {40, 65, 769}, {70, 15, 1537}, {5, 100, 15}, {12, 48, 64}};
  for (TensorType type : {TensorType::kF32, TensorType::kF16, TensorType::kBf16})
    for (const auto& [m, n, k] : shapes) {
      Matrix a = random_matrix(m, k, random);
      WeightMatrix w(type, n, k, random);
      const size_t bytes = row_bytes(type, 1);
      Guarded turned(n * k * bytes);
      for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < k; j++)
          std::memcpy(turned.data() + (j * n + i) * bytes, w.weight.data + i * w.weight.row_bytes + j * bytes, bytes);
      for (const KernelTable* kernels : variants()) {
        if (type == TensorType::kBf16 && !kernels->tensor.product.adds_bf16_as_linear) continue;
        Matrix expected(m, n), out(m, n);
        execute(kernels->linear, linear({{a.rows()}, 1}, w.weight, expected));
        cpu::MatrixProduct p = product_of(a, w.weight, out);
        run_product(*kernels, p);
        CHECK_MESSAGE(n_different(out, expected) == 0, kernels->isa, ", ", info(type).name, " ", m, " x ", n, " x ", k);
        Matrix of_turned(m, n);
        p.b = turned.data(), p.b_stride = n * bytes, p.b_turned = true;
        p.out = of_turned.row(0);
        run_product(*kernels, p);
        CHECK_MESSAGE(n_different(of_turned, expected) == 0, kernels->isa, ", turned ", info(type).name, " ", m, " x ", n, " x ",
                      k);
      }
    }
}

TEST_CASE("products of bytes are exact modulo 2^32 for all bytes, zero points and scales") {
  Random random(7);
  const size_t shapes[][3] = {{1, 1, 0},    {1, 1, 1},    {3, 17, 9},    {12, 33, 64},   {13, 32, 130},
                              {25, 31, 1536}, {12, 48, 771}, {5, 65, 3001}, {26, 16, 1537}, {7, 3, 63}};
  for (const auto& [m, n, k] : shapes)
    for (int types = 0; types < 4; types++)
      for (bool extreme : {false, true}) {
        const TensorType a_type = types & 1 ? TensorType::kU8 : TensorType::kI8;
        const TensorType b_type = types & 2 ? TensorType::kU8 : TensorType::kI8;
        Guarded a(m * k), b(n * k);
        // Where they are extreme: mostly -128, with 127 and -1 (128, 127 and 255) between.
        const auto byte = [&] { return static_cast<std::byte>(extreme ? (random() % 2 ? 0x7f : 0xff) : random()); };
        for (size_t i = 0; i < m * k; i++) a.data()[i] = extreme && i % 3 ? std::byte{0x80} : byte();
        for (size_t i = 0; i < n * k; i++) b.data()[i] = extreme && i % 5 ? std::byte{0x80} : byte();
        const auto at = [](TensorType type, std::byte x) {
          return static_cast<int64_t>(type == TensorType::kU8 ? static_cast<int>(x) : static_cast<int8_t>(x));
        };
        std::vector<int32_t> zero_b(n);
        std::vector<float> scale_b(n);
        for (size_t j = 0; j < n; j++) {
          zero_b[j] = static_cast<int32_t>(random() % 600) - 300;
          scale_b[j] = 0.01f * static_cast<float>(j + 1);
        }
        const int32_t zero_a = static_cast<int32_t>(random() % 600) - 300;
        for (const KernelTable* kernels : variants())
          for (bool scaled : {false, true}) {
            Matrix out(m, n);
            cpu::MatrixProduct p;
            p.m = m, p.n = n, p.k = k;
            p.a = a.data(), p.a_stride = k, p.a_type = a_type;
            p.b = b.data(), p.b_stride = k, p.b_type = b_type;
            p.out = out.row(0), p.out_stride = out.stride;
            p.zero_a = zero_a, p.zero_b = {zero_b.data(), false};
            if (scaled) p.scale_a = 0.5f, p.scale_b = {scale_b.data(), false};
            run_product(*kernels, p);
            size_t wrong = 0;
            for (size_t i = 0; i < m; i++)
              for (size_t j = 0; j < n; j++) {
                int64_t sum = 0;
                for (size_t l = 0; l < k; l++)
                  sum += (at(a_type, a.data()[i * k + l]) - zero_a) * (at(b_type, b.data()[j * k + l]) - zero_b[j]);
                const int32_t exact = static_cast<int32_t>(static_cast<uint32_t>(sum));
                const float expected = static_cast<float>(exact) * (0.5f * scale_b[j]);
                wrong += std::memcmp(out.row(i) + j * 4, scaled ? static_cast<const void*>(&expected) : &exact, 4) != 0;
              }
            CHECK_MESSAGE(wrong == 0, kernels->isa, " ", info(a_type).name, " ", info(b_type).name, " ", m, " x ", n, " x ", k);
          }
      }
}
