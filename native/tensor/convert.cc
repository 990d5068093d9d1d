// Copies between types and layouts: contiguous(), casts, blocks decoded and encoded.
#include <algorithm>

#include "quant/block_types.h"
#include "tensor/ops.h"

namespace infernode::tensor {

namespace {

constexpr size_t kItemValues = 16384;
constexpr size_t kChunk = 1024;

size_t items_of(size_t values) { return (values + kItemValues - 1) / kItemValues; }

// Values [begin, end) of a contiguous tensor in row-major order, from wherever they lie.
void copy_range(const cpu::TensorKernels& runs, const Runs<1>& order, const View& from, const View& to, size_t begin,
                size_t end) {
  const std::byte* source = from.storage->data();
  std::byte* out = to.data() + begin * info(to.type).block_bytes;
  const size_t width = info(from.type).block_bytes, out_width = info(to.type).block_bytes;
  const ptrdiff_t stride = static_cast<ptrdiff_t>(order.stride(0));
  order.for_each(begin, end, [&](const size_t(&offsets)[1], size_t n) {
    const std::byte* p = source + (from.offset + offsets[0]) * width;
    if (from.type == to.type && stride == 1) {
      std::memcpy(out, p, n * width);
    } else if (is_integer(from.type) && is_integer(to.type)) {
      int32_t chunk[kChunk];
      for (size_t i = 0; i < n; i += kChunk) {
        const size_t m = std::min(kChunk, n - i);
        runs.load_i32(from.type, p + static_cast<ptrdiff_t>(i * width) * stride, stride, m, chunk);
        runs.store_i32(to.type, chunk, m, out + i * out_width);
      }
    } else if (to.type == TensorType::kF32) {
      runs.load(from.type, p, stride, n, reinterpret_cast<float*>(out));
    } else {
      float chunk[kChunk];
      for (size_t i = 0; i < n; i += kChunk) {
        const size_t m = std::min(kChunk, n - i);
        runs.load(from.type, p + static_cast<ptrdiff_t>(i * width) * stride, stride, m, chunk);
        runs.store(to.type, chunk, m, out + i * out_width);
      }
    }
    out += n * out_width;
  });
}

// A matrix whose columns lie side by side, turned a square tile at a time: a value's neighbours in memory are used while they
// are in cache. Items are strips of 32 rows of the result.
constexpr size_t kTile = 32;

template <class T>
void turn_tile(const std::byte* from, size_t column_stride, std::byte* to, size_t row_stride, size_t rows, size_t columns) {
  for (size_t r = 0; r < rows; r++)
    for (size_t c = 0; c < columns; c++)
      std::memcpy(to + (r * row_stride + c) * sizeof(T), from + (c * column_stride + r) * sizeof(T), sizeof(T));
}

bool turns(const Runs<1>& order, const View& from, const View& to) {
  return from.type == to.type && order.rank() >= 2 && order.stride(0) != 1 && order.stride(0, order.rank() - 2) == 1 &&
         order.shape(order.rank() - 1) >= 8 && order.shape(order.rank() - 2) >= 8;
}

void add_turn(const Maker& make, const Runs<1>& order, const View& from, const View& to) {
  const size_t rank = order.rank(), columns = order.shape(rank - 1), rows = order.shape(rank - 2);
  const size_t strips = (rows + kTile - 1) / kTile, matrices = order.size() / (rows * columns);
  make.job->add({strips * matrices, 0, [=](size_t begin, size_t end, std::byte*) {
                   const size_t width = info(from.type).block_bytes;
                   for (size_t item = begin; item < end; item++) {
                     const size_t matrix = item / strips, row = item % strips * kTile, n = std::min(kTile, rows - row);
                     size_t offset = from.offset + row, rest = matrix;
                     for (size_t d = rank - 2; d-- > 0;) {
                       offset += rest % order.shape(d) * order.stride(0, d);
                       rest /= order.shape(d);
                     }
                     for (size_t c = 0; c < columns; c += kTile) {
                       const std::byte* p = from.storage->data() + (offset + c * order.stride(0)) * width;
                       std::byte* out = to.data() + (matrix * rows * columns + row * columns + c) * width;
                       const size_t m = std::min(kTile, columns - c);
                       if (width == 4)
                         turn_tile<uint32_t>(p, order.stride(0), out, columns, n, m);
                       else if (width == 2)
                         turn_tile<uint16_t>(p, order.stride(0), out, columns, n, m);
                       else
                         turn_tile<uint8_t>(p, order.stride(0), out, columns, n, m);
                     }
                   }
                 }});
}

// The rows of blocks, one behind the other: offsets of rows in values.
View rows_view(const View& x) {
  View rows = x;
  rows.rank = x.rank - 1;
  return rows;
}

Result<View> decode_blocks(const Maker& make, const View& x) {
  INFERNODE_ASSIGN(out, make_view(TensorType::kF32, x.shape, x.rank));
  const View rows = rows_view(x);
  const View* views[] = {&rows};
  const Runs<1> order(views);
  const auto dequantize = make.kernels.dequantize;
  const size_t width = x.last();
  if (width > 0)
    make.job->add({rows.size(), 0, [=, out = out](size_t begin, size_t end, std::byte*) {
                     size_t row = begin;
                     order.for_each(begin, end, [&](const size_t(&offsets)[1], size_t n) {
                       for (size_t i = 0; i < n; i++, row++) {
                         const size_t at = x.offset + offsets[0] + i * order.stride(0);
                         dequantize({x.storage->data() + row_bytes(x.type, at), 1, width, row_bytes(x.type, width), x.type, 0},
                                    0, reinterpret_cast<float*>(out.data()) + row * width);
                       }
                     });
                   }});
  return out;
}

Result<View> encode_blocks(const Maker& make, const View& x, TensorType type) {
  if (x.rank == 0 || x.last() % info(type).block_values != 0 || !quant::can_encode(type))
    return error(ErrorCode::kInternal, {"blocks that do not fit"});
  INFERNODE_ASSIGN(from, as_contiguous(make, x, TensorType::kF32));
  INFERNODE_ASSIGN(out, make_view(type, x.shape, x.rank));
  const auto encode = make.kernels.encode;
  const size_t block = info(type).block_values, per_item = std::max<size_t>(1, 4096 / block), blocks = x.size() / block;
  make.job->add({(blocks + per_item - 1) / per_item, 0,
                 [=, from = from, out = out, job = make.job.get()](size_t begin, size_t end, std::byte*) {
                   const size_t first = begin * per_item, last = std::min(end * per_item, blocks);
                   const float* values = reinterpret_cast<const float*>(from.data()) + first * block;
                   const size_t n = (last - first) * block;
                   for (size_t i = 0; i < n; i++)
                     if (!(values[i] - values[i] == 0))
                       return job->fail(error(ErrorCode::kInvalidArgument,
                                              {"quantize", "finite values",
                                               std::to_string(values[i]) + " at index " + std::to_string(first * block + i)}));
                   encode(type, values, n, out.data() + first * info(type).block_bytes);
                 }});
  return out;
}

}  // namespace

void add_copy(const Maker& make, const View& from, const View& to) {
  const View* views[] = {&from};
  const Runs<1> order(views);
  if (order.size() == 0) return;
  if (turns(order, from, to)) return add_turn(make, order, from, to);
  const cpu::TensorKernels& runs = make.runs();
  make.job->add({items_of(order.size()), 0, [=, &runs](size_t begin, size_t end, std::byte*) {
                   copy_range(runs, order, from, to, begin * kItemValues, std::min(end * kItemValues, order.size()));
                 }});
}

Result<View> convert(const Maker& make, const View& x, TensorType type) {
  make.job->costs(2 * x.size());
  if (x.blocks() && x.type == type) {  // moved block by block, as bytes
    View from = x;
    const size_t values = info(type).block_values, bytes = info(type).block_bytes;
    from.type = TensorType::kU8;
    from.offset = x.offset / values * bytes;
    from.shape[x.rank - 1] = x.last() / values * bytes;
    for (size_t d = 0; d + 1 < x.rank; d++) from.strides[d] = x.strides[d] / values * bytes;
    INFERNODE_ASSIGN(out, make_view(type, x.shape, x.rank));
    View to = out;
    to.type = TensorType::kU8;
    add_copy(make, from, to);
    return out;
  }
  if (x.blocks()) {
    INFERNODE_ASSIGN(decoded, decode_blocks(make, x));
    return type == TensorType::kF32 ? Result<View>(decoded) : convert(make, decoded, type);
  }
  if (info(type).block_values > 1) return encode_blocks(make, x, type);
  INFERNODE_ASSIGN(out, make_view(type, x.shape, x.rank));
  add_copy(make, x, out);
  return out;
}

Result<View> as_f32_rows(const Maker& make, const View& x) {
  if (x.type == TensorType::kF32 && x.dense_rows()) return x;
  return convert(make, x, TensorType::kF32);
}

Result<View> as_contiguous(const Maker& make, const View& x, TensorType type) {
  if (x.type == type && x.contiguous()) return x;
  return convert(make, x, type);
}

}  // namespace infernode::tensor
