// Matrix products by the models' `linear`, and exact products of int8 matrices.
#include <algorithm>
#include <array>

#include "quant/activations.h"
#include "tensor/kernel_phase.h"

namespace infernode::tensor {

namespace {

using Linear = ops::Linear<cpu::Rows, cpu::Weight>;

constexpr size_t kChunkRows = 512;  // of a, multiplied together: sums that stay in L2
constexpr size_t kItemRows = 32;    // of the weights; what an item of `linear` is
constexpr size_t kFewRows = 8;      // of a, for which laying it out anew does not pay

Error not_fitting() { return error(ErrorCode::kInternal, {"matrices that do not fit"}); }

// b as kernels want it: [..., N, K], values of K side by side or, of floats, those of N (turned).
struct Weights {
  View rows;
  bool turned = false;
  size_t stride() const { return row_bytes(rows.type, rows.strides[turned ? rows.rank - 1 : rows.rank - 2]); }
};
// Whether b of this type goes through ProductKernel, which gives what `linear` does.
bool multiplied(const Maker& make, TensorType type) {
  return is_float(type) && (type != TensorType::kBf16 || make.runs().product.adds_bf16_as_linear);
}
Result<Weights> weights_of(const Maker& make, const View& b, bool transpose_b) {
  const View rows = transpose_b ? b : swapped(b, b.rank - 2, b.rank - 1);
  if (rows.dense_rows()) return Weights{rows};
  if (b.blocks()) return not_fitting();
  if (multiplied(make, b.type) && (rows.strides[rows.rank - 2] == 1 || rows.shape[rows.rank - 2] <= 1)) return Weights{rows, true};
  INFERNODE_ASSIGN(copy, convert(make, rows, b.type));
  return Weights{copy};
}

// Quantized activations of one or many matrices: rows at 64-byte boundaries, which no view can describe.
struct Activations {
  std::shared_ptr<Storage> storage;
  size_t stride;
};

Result<Activations> quantized(const Maker& make, const View& a, TensorType type) {
  INFERNODE_ASSIGN(rows, as_contiguous(make, a, TensorType::kF32));
  const size_t width = a.last(),
               stride = ((type == TensorType::kA8_32 ? a8_32_row_bytes(width) : a8_256_row_bytes(width)) + 63) & ~size_t{63};
  const size_t n = a.size() / width;
  if (n > SIZE_MAX / 2 / stride) return error(ErrorCode::kOutOfMemory, {"a tensor", "more than addressable"});
  INFERNODE_ASSIGN(storage, Storage::make(n * stride));
  ops::Quantize<cpu::Rows, cpu::Weight> op{};
  op.x = rows_of(rows, width);
  op.out.n = 1;
  op.out[0] = {storage->data(), stride, n, width, type};
  INFERNODE_TRY(add_kernel(make, make.kernels.quantize, op, {}, std::pair(rows.storage, storage)));
  return Activations{storage, stride};
}

// Offsets of each matrix of a batch, in values.
std::vector<size_t> offsets_of(const View& view, const size_t* shape, size_t rank) {
  View batch = view;
  batch.rank -= 2;
  batch = broadcast(batch, shape, rank);
  const View* views[] = {&batch};
  const Runs<1> order(views);
  std::vector<size_t> offsets;
  order.for_each(0, order.size(), [&](const size_t(&at)[1], size_t n) {
    for (size_t i = 0; i < n; i++) offsets.push_back(at[0] + i * order.stride(0));
  });
  return offsets;
}

// Which matrix of `view`, counted as if it were contiguous, each matrix of the result takes.
std::vector<size_t> matrices_of(const View& view, const size_t* shape, size_t rank) {
  View indices = view;
  for (size_t d = view.rank - 2, stride = 1; d-- > 0; stride *= view.shape[d]) indices.strides[d] = stride;
  return offsets_of(indices, shape, rank);
}

// a, laid out anew once for all of b, then items of columns: `one` with the sizes and the kernel's view of both, and for each
// matrix of the result which of a's it takes and where its b begins, in bytes. `keep` lives as long as the phases.
template <class Keep>
Status add_products(const Maker& make, const cpu::MatrixProduct& one, std::vector<size_t> a_starts, std::vector<size_t> of_a,
                    std::vector<size_t> of_b, Keep keep) {
  const cpu::ProductKernel& kernel = make.runs().product;
  cpu::MatrixProduct largest = one;
  largest.m = std::min(kChunkRows, one.m);
  const size_t chunks = (one.m + kChunkRows - 1) / kChunkRows, packed_bytes = kernel.packed_bytes(largest);
  if (packed_bytes > 0 && a_starts.size() * chunks > SIZE_MAX / 2 / packed_bytes)
    return error(ErrorCode::kOutOfMemory, {"a tensor", "more than addressable"});
  INFERNODE_ASSIGN(packed, Storage::make(a_starts.size() * chunks * packed_bytes));
  const size_t scratch = kernel.scratch_bytes(largest), packs = kernel.pack_items(largest), items = kernel.items(one);
  const auto chunk_of = [one](size_t chunk) {
    cpu::MatrixProduct p = one;
    const size_t first = chunk * kChunkRows;
    p.m = std::min(kChunkRows, one.m - first);
    p.a += first * p.a_stride;
    p.out += first * p.out_stride;
    return p;
  };
  make.job->add({a_starts.size() * chunks * packs, scratch,
                 [=, &kernel, starts = a_starts, keep = keep](size_t begin, size_t end, std::byte* memory) {
                   for (size_t item = begin; item < end; item++) {
                     cpu::MatrixProduct p = chunk_of(item / packs % chunks);
                     p.a += starts[item / packs / chunks];
                     if (item % packs < kernel.pack_items(p))
                       kernel.pack(p, item % packs, item % packs + 1, packed->data() + item / packs * packed_bytes, memory);
                   }
                 }});
  const size_t matrices = of_b.size();
  make.job->add({matrices * chunks * items, scratch,
                 [=, &kernel, starts = std::move(a_starts), of_a = std::move(of_a), of_b = std::move(of_b),
                  keep = keep](size_t begin, size_t end, std::byte* memory) {
                   for (size_t item = begin; item < end; item++) {
                     const size_t matrix = item / items / chunks, chunk = item / items % chunks;
                     cpu::MatrixProduct p = chunk_of(chunk);
                     p.a += starts[of_a[matrix]];
                     p.b += of_b[matrix];
                     p.out += matrix * one.m * p.out_stride;
                     kernel.run(p, item % items, item % items + 1, packed->data() + (of_a[matrix] * chunks + chunk) * packed_bytes,
                                memory);
                   }
                 }});
  return {};
}

// b: rows of floats.
Status multiply_floats(const Maker& make, const View& a, const Weights& b, const View& out) {
  INFERNODE_ASSIGN(rows, as_f32_rows(make, a));
  const size_t* shape = out.shape;
  const size_t rank = out.rank - 2, m = a.shape[a.rank - 2], k = a.last(), n = out.last();
  cpu::MatrixProduct one;
  one.m = m, one.n = n, one.k = k;
  one.a = rows.data();
  one.a_stride = rows.strides[rows.rank - 2] * sizeof(float);
  one.b = b.rows.data();
  one.b_stride = b.stride(), one.b_type = b.rows.type, one.b_turned = b.turned;
  one.out = out.data();
  one.out_stride = n * sizeof(float);
  std::vector<size_t> starts = offsets_of(rows, rows.shape, rows.rank - 2), of_a = matrices_of(rows, shape, rank);
  std::vector<size_t> of_b = offsets_of(b.rows, shape, rank);
  for (size_t& start : starts) start *= sizeof(float);
  for (size_t& offset : of_b) offset = row_bytes(b.rows.type, offset);
  // One matrix b for all of a: its rows are one long batch.
  if (b.rows.size() == n * k && rows.contiguous() && starts.size() == of_a.size()) {
    one.m = starts.size() * m;
    starts = of_a = {0};
    of_b.resize(1);
  }
  return add_products(make, one, std::move(starts), std::move(of_a), std::move(of_b),
                      std::array{rows.storage, b.rows.storage, out.storage});
}

// By the models' `linear`: quantized weights, and few rows of a, which read b at the speed of memory.
Status multiply_by_linear(const Maker& make, const View& a, const View& weights, const View& out) {
  const size_t* shape = out.shape;
  const size_t rank = out.rank, m = a.shape[a.rank - 2], k = a.last(), n = out.last();
  const TensorType activations = info(weights.type).activations;
  View x = a;
  std::shared_ptr<Storage> x_storage;
  size_t x_stride = 0;            // bytes between rows
  std::vector<size_t> x_offsets;  // bytes
  if (activations == TensorType::kF32) {
    INFERNODE_ASSIGN(rows, as_f32_rows(make, a));
    x = rows;
    x_storage = rows.storage;
    x_stride = rows.strides[rows.rank - 2] * sizeof(float);
    x_offsets = offsets_of(rows, shape, rank - 2);
    for (size_t& offset : x_offsets) offset = (rows.offset + offset) * sizeof(float);
  } else {
    INFERNODE_ASSIGN(rows, quantized(make, a, activations));
    x_storage = rows.storage;
    x_stride = rows.stride;
    x_offsets = matrices_of(a, shape, rank - 2);
    for (size_t& offset : x_offsets) offset *= m * x_stride;
  }
  std::vector<size_t> b_offsets = offsets_of(weights, shape, rank - 2);
  // One matrix b for all of a: its rows are one long batch.
  size_t rows_of_a = m;
  if (weights.size() == n * k && a.size() / k == x_offsets.size() * m && (activations != TensorType::kF32 || x.contiguous())) {
    rows_of_a = x_offsets.size() * m;
    x_offsets.resize(1);
    b_offsets.resize(1);
  }
  const size_t chunks = (rows_of_a + kChunkRows - 1) / kChunkRows, items = (n + kItemRows - 1) / kItemRows;
  Linear largest{};
  largest.out.n = 1;
  largest.out[0].n = std::min(kChunkRows, rows_of_a);
  const auto& kernel = make.kernels.linear;
  const size_t weight_row_bytes = row_bytes(weights.type, weights.strides[weights.rank - 2]);
  make.job->add({x_offsets.size() * chunks * items, kernel.scratch_bytes(largest, {}),
                 [=, &kernel, out = out, weights = weights, x_offsets = std::move(x_offsets), b_offsets = std::move(b_offsets)](
                     size_t begin, size_t end, std::byte* scratch) {
                   for (size_t item = begin; item < end; item++) {
                     const size_t matrix = item / (chunks * items), first = item / items % chunks * kChunkRows;
                     const size_t count = std::min(kChunkRows, rows_of_a - first);
                     Linear op{};
                     op.x.n = op.weight.n = op.out.n = 1;
                     op.x[0] = {x_storage->data() + x_offsets[matrix] + first * x_stride, x_stride, count, k, activations};
                     op.weight[0] = {weights.storage->data() + row_bytes(weights.type, weights.offset + b_offsets[matrix]),
                                     n,
                                     k,
                                     weight_row_bytes,
                                     weights.type,
                                     0,
                                     activations};
                     op.out[0] = {out.data() + (matrix * rows_of_a + first) * n * sizeof(float), n * sizeof(float), count, n,
                                  TensorType::kF32};
                     kernel.run(op, {}, {item % items, item % items + 1}, scratch);
                   }
                 }});
  return {};
}

}  // namespace

Result<View> matmul(const Maker& make, const View& a, const View& b, bool transpose_b) {
  if (a.rank < 2 || b.rank < 2 || !is_float(a.type) || is_integer(b.type)) return not_fitting();
  const size_t rank = std::max(a.rank, b.rank), m = a.shape[a.rank - 2], k = a.last();
  const size_t n = b.shape[b.rank - (transpose_b ? 2 : 1)], k_of_b = b.shape[b.rank - (transpose_b ? 1 : 2)];
  if (k != k_of_b || (b.blocks() && !transpose_b)) return not_fitting();
  size_t shape[kMaxRank];
  for (size_t behind = 3; behind <= rank; behind++) {
    const size_t x = behind <= a.rank ? a.shape[a.rank - behind] : 1, y = behind <= b.rank ? b.shape[b.rank - behind] : 1;
    if (x != y && x != 1 && y != 1) return not_fitting();
    shape[rank - behind] = x == 1 ? y : x;
  }
  shape[rank - 2] = m;
  shape[rank - 1] = n;
  const auto contents = k == 0 ? Storage::Contents::kZeros : Storage::Contents::kAny;
  INFERNODE_ASSIGN(out, make_view(TensorType::kF32, shape, rank, contents));
  make.job->costs(a.size() + b.size() + out.size(), static_cast<double>(out.size()) * static_cast<double>(k));
  if (out.size() == 0 || k == 0) return out;

  INFERNODE_ASSIGN(weights, weights_of(make, b, transpose_b));
  const size_t rows = b.size() == n * k ? a.size() / k : m;
  if (multiplied(make, b.type) && (rows > kFewRows || weights.turned)) {
    INFERNODE_TRY(multiply_floats(make, a, weights, out));
  } else {
    INFERNODE_TRY(multiply_by_linear(make, a, weights.rows, out));
  }
  return out;
}

Result<View> int8_matmul(const Maker& make, const View& a, const View& b, const Int8Scales& scales) {
  const auto bytes = [](const View& x) { return x.rank == 2 && (x.type == TensorType::kI8 || x.type == TensorType::kU8); };
  const auto fits = [&](const View& x, TensorType type) {
    return !x.storage || (x.type == type && x.contiguous() && (x.size() == 1 || x.size() == b.shape[0]));
  };
  if (!bytes(a) || !bytes(b) || a.last() != b.last() || !fits(scales.scale_b, TensorType::kF32) ||
      !fits(scales.zero_b, TensorType::kI32))
    return not_fitting();
  const size_t m = a.shape[0], n = b.shape[0], k = a.last(), shape[] = {m, n};
  const bool scaled = scales.scale_b.storage != nullptr;
  INFERNODE_ASSIGN(out, make_view(scaled ? TensorType::kF32 : TensorType::kI32, shape, 2));
  make.job->costs(a.size() + b.size() + out.size(), static_cast<double>(out.size()) * static_cast<double>(k));
  if (out.size() == 0) return out;
  INFERNODE_ASSIGN(x, as_contiguous(make, a, a.type));
  INFERNODE_ASSIGN(w, as_contiguous(make, b, b.type));
  cpu::MatrixProduct one;
  one.m = m, one.n = n, one.k = k;
  one.a = x.data(), one.a_stride = k, one.a_type = a.type;
  one.b = w.data(), one.b_stride = k, one.b_type = b.type;
  one.out = out.data(), one.out_stride = n * 4;
  one.scale_a = scales.scale_a, one.zero_a = scales.zero_a;
  if (scaled) one.scale_b = {reinterpret_cast<const float*>(scales.scale_b.data()), scales.scale_b.size() == 1};
  if (scales.zero_b.storage) one.zero_b = {reinterpret_cast<const int32_t*>(scales.zero_b.data()), scales.zero_b.size() == 1};
  struct Kept {
    std::shared_ptr<Storage> x, w, out;
    Int8Scales scales;
  };
  INFERNODE_TRY(add_products(make, one, {0}, {0}, {0}, Kept{x.storage, w.storage, out.storage, scales}));
  return out;
}

}  // namespace infernode::tensor
