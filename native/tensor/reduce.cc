// Sums and extremes over dimensions, softmax, the largest k.
#include <algorithm>
#include <cmath>

#include "tensor/ops.h"

namespace infernode::tensor {

namespace {

constexpr size_t kChunk = 1024;  // values of a row that are added up at once, wherever they lie: one order of operations
constexpr size_t kColumns = 16;  // rows that lie side by side are gathered together

// What a row has come to so far.
struct Total {
  double sum = 0;
  cpu::Extreme best{};
  bool any = false;
};

bool wants_least(cpu::Reduction op) { return op == cpu::Reduction::kMin || op == cpu::Reduction::kArgmin; }

void add_chunk(const cpu::TensorKernels& runs, cpu::Reduction op, const float* x, size_t first, size_t n, Total& total) {
  if (op == cpu::Reduction::kSum || op == cpu::Reduction::kMean) {
    total.sum += static_cast<double>(runs.sum(x, n));
    return;
  }
  cpu::Extreme best = wants_least(op) ? runs.smallest(x, n) : runs.largest(x, n);
  best.index += static_cast<uint32_t>(first);
  const bool settled = total.any && std::isnan(total.best.value);
  const bool wins = std::isnan(best.value) || (wants_least(op) ? best.value < total.best.value : best.value > total.best.value);
  if (!total.any || (!settled && wins)) total.best = best;
  total.any = true;
}

void add_integers(cpu::Reduction op, const int32_t* x, size_t first, size_t n, Total& total) {
  for (size_t i = 0; i < n; i++) {
    const double value = x[i];
    total.sum += value;  // exact: below 2^53
    const bool wins = wants_least(op) ? value < total.best.value : value > total.best.value;
    if (!total.any || wins) total.best = {static_cast<float>(value), static_cast<uint32_t>(first + i)};
    total.any = true;
  }
}

TensorType result_type(cpu::Reduction op, TensorType type) {
  switch (op) {
    case cpu::Reduction::kArgmax:
    case cpu::Reduction::kArgmin: return TensorType::kI32;
    case cpu::Reduction::kMean: return is_float(type) ? type : TensorType::kF32;
    case cpu::Reduction::kSum: return is_float(type) ? type : TensorType::kI32;
    default: return type;
  }
}

void store_total(const cpu::TensorKernels& runs, cpu::Reduction op, const Total& total, size_t n, const View& out, size_t index,
                 const View& x, size_t offset, size_t stride) {
  std::byte* to = out.data() + index * info(out.type).block_bytes;
  if (op == cpu::Reduction::kArgmax || op == cpu::Reduction::kArgmin) {
    const int32_t at = static_cast<int32_t>(total.best.index);
    std::memcpy(to, &at, sizeof at);
  } else if (op == cpu::Reduction::kMax || op == cpu::Reduction::kMin) {  // the value itself, whatever its type
    const size_t width = info(x.type).block_bytes;
    std::memcpy(to, x.storage->data() + (x.offset + offset + total.best.index * stride) * width, width);
  } else if (out.type == TensorType::kI32) {
    const int32_t sum = static_cast<int32_t>(std::clamp(total.sum, -0x1p31, 0x1p31 - 1));
    std::memcpy(to, &sum, sizeof sum);
  } else {
    const float value = static_cast<float>(op == cpu::Reduction::kMean ? total.sum / static_cast<double>(n) : total.sum);
    runs.store(out.type, &value, 1, to);
  }
}

// Rows of n values, `stride` apart, at `offsets`.
void reduce_rows(const cpu::TensorKernels& runs, cpu::Reduction op, const View& x, const size_t* offsets, size_t n_rows,
                 size_t n, size_t stride, const View& out, size_t first_out) {
  alignas(64) float gathered[kColumns][kChunk];
  Total totals[kColumns];
  const size_t width = info(x.type).block_bytes;
  const std::byte* data = x.storage->data();
  for (size_t at = 0; at < n; at += kChunk) {
    const size_t m = std::min(kChunk, n - at);
    const bool turns = x.type == TensorType::kF32 && stride != 1 && n_rows > 1;
    if (turns)  // neighbours in memory belong to different rows
      for (size_t i = 0; i < m; i++)
        for (size_t r = 0; r < n_rows; r++)
          gathered[r][i] = reinterpret_cast<const float*>(data)[x.offset + offsets[r] + (at + i) * stride];
    for (size_t r = 0; r < n_rows; r++) {
      const std::byte* from = data + (x.offset + offsets[r] + at * stride) * width;
      if (is_integer(x.type)) {
        int32_t integers[kChunk];
        runs.load_i32(x.type, from, static_cast<ptrdiff_t>(stride), m, integers);
        add_integers(op, integers, at, m, totals[r]);
        continue;
      }
      const bool direct = x.type == TensorType::kF32 && stride == 1;
      if (!direct && !turns) runs.load(x.type, from, static_cast<ptrdiff_t>(stride), m, gathered[r]);
      add_chunk(runs, op, direct ? reinterpret_cast<const float*>(from) : gathered[r], at, m, totals[r]);
    }
  }
  for (size_t r = 0; r < n_rows; r++) store_total(runs, op, totals[r], n, out, first_out + r, x, offsets[r], stride);
}

// The dimensions before the last.
View outer_of(const View& x) {
  View outer = x;
  outer.rank = x.rank - 1;
  return outer;
}

Error not_fitting() { return error(ErrorCode::kInternal, {"an operand that does not fit"}); }

}  // namespace

Result<View> reduce(const Maker& make, cpu::Reduction op, const View& x, size_t n) {
  if (x.blocks() || n > x.rank) return not_fitting();
  View rows;
  if (!collapse_after(x, x.rank - n, rows)) {
    INFERNODE_ASSIGN(copy, convert(make, x, x.type));
    collapse_after(copy, x.rank - n, rows);
  }
  const size_t length = rows.last(), stride = rows.strides[rows.rank - 1];
  const bool sums = op == cpu::Reduction::kSum || op == cpu::Reduction::kMean;
  if ((length == 0 && !sums && rows.size() / std::max<size_t>(length, 1) > 0) || length > UINT32_MAX / 2) return not_fitting();
  const View outer = outer_of(rows);
  INFERNODE_ASSIGN(out, make_view(result_type(op, x.type), outer.shape, outer.rank));
  make.job->costs(x.size() + outer.size());
  const View* views[] = {&outer};
  const Runs<1> order(views);
  const cpu::TensorKernels& runs = make.runs();
  const size_t per_item = std::max(kColumns, 16384 / std::max<size_t>(length, 1) / kColumns * kColumns), total = outer.size();
  make.job->add({(total + per_item - 1) / per_item, 0, [=, &runs, out = out](size_t begin, size_t end, std::byte*) {
                   size_t index = begin * per_item;
                   order.for_each(index, std::min(end * per_item, total), [&](const size_t(&offsets)[1], size_t n_outer) {
                     for (size_t i = 0; i < n_outer; i += kColumns) {
                       size_t at[kColumns];
                       const size_t m = std::min(kColumns, n_outer - i);
                       for (size_t j = 0; j < m; j++) at[j] = offsets[0] + (i + j) * order.stride(0);
                       reduce_rows(runs, op, rows, at, m, length, stride, out, index);
                       index += m;
                     }
                   });
                 }});
  return out;
}

Result<View> softmax(const Maker& make, const View& x) {
  if (!is_float(x.type) || x.rank == 0) return not_fitting();
  INFERNODE_ASSIGN(rows, as_f32_rows(make, x));
  INFERNODE_ASSIGN(out, make_view(TensorType::kF32, x.shape, x.rank));
  make.job->costs(4 * x.size());
  const View outer = outer_of(rows);
  const View* views[] = {&outer};
  const Runs<1> order(views);
  const cpu::TensorKernels& runs = make.runs();
  const size_t width = x.last();
  if (width > 0)
    make.job->add({outer.size(), 0, [=, &runs, rows = rows, out = out](size_t begin, size_t end, std::byte*) {
                     size_t row = begin;
                     order.for_each(begin, end, [&](const size_t(&offsets)[1], size_t n) {
                       for (size_t i = 0; i < n; i++, row++)
                         runs.softmax(reinterpret_cast<const float*>(rows.storage->data()) + rows.offset + offsets[0] +
                                          i * order.stride(0),
                                      reinterpret_cast<float*>(out.data()) + row * width, width);
                     });
                   }});
  return x.type == TensorType::kF32 ? Result<View>(out) : convert(make, out, x.type);
}

Result<TopK> top_k(const Maker& make, const View& x, size_t k) {
  if (!is_float(x.type) || x.rank == 0 || k > x.last() || x.last() > UINT32_MAX / 2) return not_fitting();
  INFERNODE_ASSIGN(rows, as_contiguous(make, x, TensorType::kF32));
  size_t shape[kMaxRank];
  std::copy(x.shape, x.shape + x.rank, shape);
  shape[x.rank - 1] = k;
  INFERNODE_ASSIGN(values, make_view(TensorType::kF32, shape, x.rank));
  INFERNODE_ASSIGN(indices, make_view(TensorType::kI32, shape, x.rank));
  make.job->costs(4 * x.size());
  const size_t width = x.last();
  if (k > 0)
    make.job->add({x.size() / width, width * sizeof(int32_t),
                   [=, rows = rows, values = values, indices = indices](size_t begin, size_t end, std::byte* scratch) {
                     int32_t* order = reinterpret_cast<int32_t*>(scratch);
                     for (size_t row = begin; row < end; row++) {
                       const float* from = reinterpret_cast<const float*>(rows.data()) + row * width;
                       for (size_t i = 0; i < width; i++) order[i] = static_cast<int32_t>(i);
                       const auto before = [from](int32_t a, int32_t b) {
                         const float left = from[a], right = from[b];
                         if (left > right || left < right) return left > right;
                         const bool left_nan = std::isnan(left), right_nan = std::isnan(right);
                         return left_nan != right_nan ? right_nan : a < b;
                       };
                       if (k < width) std::nth_element(order, order + k, order + width, before);
                       std::sort(order, order + k, before);
                       for (size_t i = 0; i < k; i++) reinterpret_cast<float*>(values.data())[row * k + i] = from[order[i]];
                       std::memcpy(indices.data() + row * k * sizeof(int32_t), order, k * sizeof(int32_t));
                     }
                   }});
  return TopK{values, indices};
}

}  // namespace infernode::tensor
