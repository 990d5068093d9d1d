// Matrix products by the models' `linear`, and exact products of int8 matrices.
#include <algorithm>

#include "quant/activations.h"
#include "tensor/kernel_phase.h"

namespace infernode::tensor {

namespace {

using Linear = ops::Linear<cpu::Rows, cpu::Weight>;

constexpr size_t kChunkRows = 512;  // of a, multiplied together: sums that stay in L2
constexpr size_t kItemRows = 32;    // of the weights; what an item of `linear` is

Error not_fitting() { return error(ErrorCode::kInternal, {"matrices that do not fit"}); }

// b as the kernel wants it: [..., N, K] with values of K side by side.
Result<View> weights_of(const Maker& make, const View& b, bool transpose_b) {
  const View rows = transpose_b ? b : swapped(b, b.rank - 2, b.rank - 1);
  if (rows.dense_rows()) return rows;
  if (b.blocks()) return not_fitting();
  return convert(make, rows, b.type);
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
  INFERNODE_ASSIGN(out, make_view(TensorType::kF32, shape, rank));
  make.job->costs(a.size() + b.size() + out.size(), static_cast<double>(out.size()) * static_cast<double>(k));
  if (out.size() == 0 || k == 0) return out;

  INFERNODE_ASSIGN(weights, weights_of(make, b, transpose_b));
  const TensorType activations = info(b.type).activations;
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
    View indices = a;  // of rows, as if contiguous
    for (size_t d = a.rank - 1, stride = 1; d-- > 0; stride *= a.shape[d]) indices.strides[d] = stride;
    x_offsets = offsets_of(indices, shape, rank - 2);
    for (size_t& offset : x_offsets) offset *= x_stride;
  }
  std::vector<size_t> b_offsets = offsets_of(weights, shape, rank - 2);
  // One matrix b for all of a: its rows are one long batch.
  size_t rows_of_a = m;
  if (b.size() == n * k && a.size() / k == x_offsets.size() * m && (activations != TensorType::kF32 || x.contiguous())) {
    rows_of_a = x_offsets.size() * m;
    x_offsets.resize(1);
    b_offsets.resize(1);
  }
  const size_t chunks = (rows_of_a + kChunkRows - 1) / kChunkRows, items = (n + kItemRows - 1) / kItemRows;
  Linear largest{};
  largest.out.n = 1;
  largest.out[0].n = std::min(kChunkRows, rows_of_a);
  const auto& kernel = make.kernels.linear;
  const size_t weight_row_bytes = row_bytes(b.type, weights.strides[weights.rank - 2]);
  make.job->add({x_offsets.size() * chunks * items, kernel.scratch_bytes(largest, {}),
                 [=, &kernel, out = out, weights = weights, x_offsets = std::move(x_offsets), b_offsets = std::move(b_offsets)](
                     size_t begin, size_t end, std::byte* scratch) {
                   for (size_t item = begin; item < end; item++) {
                     const size_t matrix = item / (chunks * items), first = item / items % chunks * kChunkRows;
                     const size_t count = std::min(kChunkRows, rows_of_a - first);
                     Linear op{};
                     op.x.n = op.weight.n = op.out.n = 1;
                     op.x[0] = {x_storage->data() + x_offsets[matrix] + first * x_stride, x_stride, count, k, activations};
                     op.weight[0] = {weights.storage->data() + row_bytes(b.type, weights.offset + b_offsets[matrix]),
                                     n,
                                     k,
                                     weight_row_bytes,
                                     b.type,
                                     0,
                                     activations};
                     op.out[0] = {out.data() + (matrix * rows_of_a + first) * n * sizeof(float), n * sizeof(float), count, n,
                                  TensorType::kF32};
                     kernel.run(op, {}, {item % items, item % items + 1}, scratch);
                   }
                 }});
  return out;
}

namespace {

// u8 as i8, 128 less; the zero point goes with it.
Result<View> signed_rows(const Maker& make, const View& x, int32_t& shift) {
  shift = x.type == TensorType::kU8 ? 128 : 0;
  INFERNODE_ASSIGN(rows, as_contiguous(make, x, x.type));
  if (shift == 0) return rows;
  INFERNODE_ASSIGN(out, make_view(TensorType::kI8, x.shape, x.rank));
  const size_t n = out.size();
  make.job->add({(n + 65535) / 65536, 0, [=, rows = rows, out = out](size_t begin, size_t end, std::byte*) {
                   for (size_t i = begin * 65536; i < std::min(end * 65536, n); i++)
                     out.data()[i] = rows.data()[i] ^ std::byte{0x80};
                 }});
  return out;
}

// Σ of each row, as i32.
Result<View> row_sums(const Maker& make, const View& x) {
  INFERNODE_ASSIGN(sums, make_view(TensorType::kI32, x.shape, 1));
  const size_t k = x.last();
  make.job->add({x.shape[0], 0, [=, sums = sums](size_t begin, size_t end, std::byte*) {
                   for (size_t row = begin; row < end; row++) {
                     const int8_t* values = reinterpret_cast<const int8_t*>(x.data()) + row * k;
                     uint32_t sum = 0;
                     for (size_t i = 0; i < k; i++) sum += static_cast<uint32_t>(static_cast<int32_t>(values[i]));
                     reinterpret_cast<uint32_t*>(sums.data())[row] = sum;
                   }
                 }});
  return sums;
}

int32_t value_at(const View& view, size_t i) {
  if (!view.storage) return 0;
  return reinterpret_cast<const int32_t*>(view.data())[view.size() == 1 ? 0 : i];
}

}  // namespace

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
  int32_t shift_a, shift_b;
  INFERNODE_ASSIGN(x, signed_rows(make, a, shift_a));
  INFERNODE_ASSIGN(w, signed_rows(make, b, shift_b));
  INFERNODE_ASSIGN(x_sums, row_sums(make, x));
  INFERNODE_ASSIGN(w_sums, row_sums(make, w));
  // Blocks of rows of both that stay in cache together.
  constexpr size_t kRowsA = 32, kRowsB = 64, kGroup = 8;
  const size_t blocks_a = (m + kRowsA - 1) / kRowsA, blocks_b = (n + kRowsB - 1) / kRowsB;
  const cpu::TensorKernels& runs = make.runs();
  make.job->add({blocks_a * blocks_b, 0,
                 [=, &runs, x = x, w = w, x_sums = x_sums, w_sums = w_sums, out = out](size_t begin, size_t end, std::byte*) {
                   const int8_t *left = reinterpret_cast<const int8_t*>(x.data()),
                                *right = reinterpret_cast<const int8_t*>(w.data());
                   const uint32_t zero_a = static_cast<uint32_t>(scales.zero_a - shift_a);
                   for (size_t item = begin; item < end; item++) {
                     const size_t row = item % blocks_a * kRowsA, column = item / blocks_a * kRowsB;
                     const size_t last_row = std::min(row + kRowsA, m), last_column = std::min(column + kRowsB, n);
                     for (size_t j = column; j < last_column; j += kGroup)
                       for (size_t i = row; i < last_row; i++) {
                         int32_t sums[kGroup];
                         const size_t group = std::min(kGroup, last_column - j);
                         runs.int8_dots(left + i * k, right + j * k, k, group, k, sums);
                         for (size_t g = 0; g < group; g++) {
                           // Σ (a − za)(b − zb), modulo 2^32
                           const uint32_t zero_b = static_cast<uint32_t>(value_at(scales.zero_b, j + g) - shift_b);
                           const uint32_t sum_a = static_cast<uint32_t>(value_at(x_sums, i)),
                                          sum_b = static_cast<uint32_t>(reinterpret_cast<const int32_t*>(w_sums.data())[j + g]);
                           const int32_t exact =
                               static_cast<int32_t>(static_cast<uint32_t>(sums[g]) - zero_a * sum_b - zero_b * sum_a +
                                                    static_cast<uint32_t>(k) * zero_a * zero_b);
                           std::byte* to = out.data() + (i * n + j + g) * 4;
                           if (scaled) {
                             const float* scale = reinterpret_cast<const float*>(scales.scale_b.data());
                             const float value =
                                 static_cast<float>(exact) * (scales.scale_a * scale[scales.scale_b.size() == 1 ? 0 : j + g]);
                             std::memcpy(to, &value, 4);
                           } else {
                             std::memcpy(to, &exact, 4);
                           }
                         }
                       }
                   }
                 }});
  return out;
}

}  // namespace infernode::tensor
