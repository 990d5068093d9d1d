// Layers of transformers by the models' kernels: norms, rotary positions, embeddings.
#include <algorithm>

#include "tensor/kernel_phase.h"

namespace infernode::tensor {

namespace {

Error not_fitting() { return error(ErrorCode::kInternal, {"operands that do not fit"}); }

// f32, contiguous; ones where there is no weight.
Result<View> weight_vector(const Maker& make, const View& weight, size_t width) {
  if (weight.storage) {
    if (weight.size() != width || !is_float(weight.type)) return not_fitting();
    return as_contiguous(make, weight, TensorType::kF32);
  }
  INFERNODE_ASSIGN(ones, make_view(TensorType::kF32, &width, 1));
  std::fill_n(reinterpret_cast<float*>(ones.data()), width, 1.0f);
  return ones;
}

}  // namespace

Result<View> rms_norm(const Maker& make, const View& x, const View& weight, float eps) {
  if (x.rank == 0 || !is_float(x.type)) return not_fitting();
  const size_t width = x.last();
  INFERNODE_ASSIGN(rows, as_contiguous(make, x, TensorType::kF32));
  INFERNODE_ASSIGN(scale, weight_vector(make, weight, width));
  INFERNODE_ASSIGN(out, make_view(TensorType::kF32, x.shape, x.rank));
  make.job->costs(4 * x.size());
  if (x.size() == 0) return out;
  ops::RmsNorm<cpu::Rows, cpu::Weight> op{};
  op.x = rows_of(rows, width);
  op.weight = vector_of(scale);
  op.out.n = 1;
  op.out[0] = rows_of(out, width);
  op.eps = eps;
  INFERNODE_TRY(add_kernel(make, make.kernels.rms_norm, op, {}, std::vector<View>{rows, scale, out}));
  return x.type == TensorType::kF32 ? Result<View>(out) : convert(make, out, x.type);
}

Result<View> layer_norm(const Maker& make, const View& x, const View& weight, const View& bias, float eps) {
  if (x.rank == 0 || !is_float(x.type)) return not_fitting();
  const size_t width = x.last();
  INFERNODE_ASSIGN(rows, as_contiguous(make, x, TensorType::kF32));
  INFERNODE_ASSIGN(scale, weight_vector(make, weight, width));
  View shift;
  if (bias.storage) {
    INFERNODE_ASSIGN(vector, weight_vector(make, bias, width));
    shift = vector;
  }
  INFERNODE_ASSIGN(out, make_view(TensorType::kF32, x.shape, x.rank));
  make.job->costs(6 * x.size());
  if (x.size() == 0) return out;
  ops::LayerNorm<cpu::Rows, cpu::Weight> op{};
  op.x = rows_of(rows, width);
  op.weight = vector_of(scale);
  if (shift.storage) op.bias = vector_of(shift);
  op.out.n = 1;
  op.out[0] = rows_of(out, width);
  op.eps = eps;
  INFERNODE_TRY(add_kernel(make, make.kernels.layer_norm, op, {}, std::vector<View>{rows, scale, shift, out}));
  return x.type == TensorType::kF32 ? Result<View>(out) : convert(make, out, x.type);
}

Result<View> rope(const Maker& make, const View& x, const View& positions, const View& frequencies, float scale,
                  bool interleaved) {
  if (x.rank < 3 || !is_float(x.type) || positions.type != TensorType::kI32 || frequencies.type != TensorType::kF32)
    return not_fitting();
  const size_t head_dim = x.last(), width = x.shape[x.rank - 2] * head_dim, n = frequencies.size();
  if (2 * n > head_dim || positions.rank > x.rank - 2) return not_fitting();
  for (size_t behind = 1; behind <= positions.rank; behind++) {
    const size_t at = positions.shape[positions.rank - behind];
    if (at != 1 && at != x.shape[x.rank - 2 - behind]) return not_fitting();
  }
  INFERNODE_ASSIGN(rows, as_contiguous(make, x, TensorType::kF32));
  INFERNODE_ASSIGN(at, convert(make, broadcast(positions, x.shape, x.rank - 2), TensorType::kI32));
  INFERNODE_ASSIGN(turns, as_contiguous(make, frequencies, TensorType::kF32));
  INFERNODE_ASSIGN(out, make_view(TensorType::kF32, x.shape, x.rank));
  make.job->costs(4 * x.size());
  if (x.size() == 0) return out;
  if (n == 0) return convert(make, rows, x.type);
  const size_t n_rows = x.size() / width, table_shape[] = {n_rows, 2 * n};
  INFERNODE_ASSIGN(angles, make_view(TensorType::kF32, table_shape, 2));
  cpu::Batch batch;
  batch.positions = reinterpret_cast<const int32_t*>(at.data());
  batch.n_tokens = n_rows;
  ops::RopeTable<cpu::Rows, cpu::Weight> table{};
  table.frequencies = vector_of(turns);
  table.out = rows_of(angles, 2 * n);
  table.scale = scale;
  ops::Rope<cpu::Rows, cpu::Weight> op{};
  op.x = rows_of(rows, width);
  op.table = table.out;
  op.out = rows_of(out, width);
  op.head_dim = static_cast<uint32_t>(head_dim);
  op.pairing = interleaved ? ops::Pairing::kInterleaved : ops::Pairing::kHalf;
  const std::vector<View> keep{rows, at, turns, angles, out};
  INFERNODE_TRY(add_kernel(make, make.kernels.rope_table, table, batch, keep));
  INFERNODE_TRY(add_kernel(make, make.kernels.rope, op, batch, keep));
  return x.type == TensorType::kF32 ? Result<View>(out) : convert(make, out, x.type);
}

Result<View> embedding(const Maker& make, const View& table, const View& ids) {
  if (table.rank != 2 || is_integer(table.type) || !table.dense_rows() || ids.type != TensorType::kI32 ||
      ids.rank + 1 > kMaxRank)
    return not_fitting();
  size_t shape[kMaxRank];
  std::copy(ids.shape, ids.shape + ids.rank, shape);
  shape[ids.rank] = table.last();
  INFERNODE_ASSIGN(rows, as_contiguous(make, ids, TensorType::kI32));
  INFERNODE_ASSIGN(out, make_view(TensorType::kF32, shape, ids.rank + 1));
  make.job->costs(2 * out.size());
  if (out.size() == 0) return out;
  const size_t n_rows = ids.size(), width = table.last(), entries = table.shape[0];
  const auto dequantize = make.kernels.dequantize;
  make.job->add({n_rows, 0, [=, rows = rows, out = out, job = make.job.get()](size_t begin, size_t end, std::byte*) {
                   for (size_t i = begin; i < end; i++) {
                     const int32_t id = reinterpret_cast<const int32_t*>(rows.data())[i];
                     if (id < 0 || static_cast<size_t>(id) >= entries)
                       return job->fail(error(ErrorCode::kInvalidArgument,
                                              {"ids[" + std::to_string(i) + "]",
                                               "a row of the table, below " + std::to_string(entries), std::to_string(id)}));
                     const size_t at = table.offset + static_cast<size_t>(id) * table.strides[0];
                     dequantize({table.storage->data() + row_bytes(table.type, at), 1, width, row_bytes(table.type, width),
                                 table.type, 0},
                                0, reinterpret_cast<float*>(out.data()) + i * width);
                   }
                 }});
  return out;
}

}  // namespace infernode::tensor
