// Arithmetic on single values, with broadcasting.
#include <algorithm>

#include "tensor/ops.h"

namespace infernode::tensor {

namespace {

constexpr size_t kItemValues = 16384;
constexpr size_t kChunk = 1024;

size_t items_of(size_t values) { return (values + kItemValues - 1) / kItemValues; }

// Right-aligned; sizes are equal or 1.
bool broadcast_shape(const View& a, const View& b, size_t* shape, size_t& rank) {
  rank = std::max(a.rank, b.rank);
  for (size_t behind = 1; behind <= rank; behind++) {
    const size_t x = behind <= a.rank ? a.shape[a.rank - behind] : 1, y = behind <= b.rank ? b.shape[b.rank - behind] : 1;
    if (x != y && x != 1 && y != 1) return false;
    shape[rank - behind] = x == 1 ? y : x;
  }
  return true;
}

Error not_fitting() { return error(ErrorCode::kInternal, {"operands that do not fit"}); }

// n values of an operand from `offset` on: where they lie if the kernel can read them there, else in `chunk`.
template <class T>
cpu::Operand<T> operand(const cpu::TensorKernels& runs, const View& x, size_t offset, size_t stride, size_t n, T* chunk) {
  const std::byte* from = x.storage->data() + (x.offset + offset) * info(x.type).block_bytes;
  const bool one = stride == 0, direct = x.type == (std::is_same_v<T, float> ? TensorType::kF32 : TensorType::kI32);
  if (direct && stride <= 1) return {reinterpret_cast<const T*>(from), one};
  if constexpr (std::is_same_v<T, float>)
    runs.load(x.type, from, static_cast<ptrdiff_t>(stride), one ? 1 : n, chunk);
  else
    runs.load_i32(x.type, from, static_cast<ptrdiff_t>(stride), one ? 1 : n, chunk);
  return {chunk, one};
}

template <class T>
void store(const cpu::TensorKernels& runs, TensorType type, const T* x, size_t n, std::byte* to) {
  if constexpr (std::is_same_v<T, float>)
    runs.store(type, x, n, to);
  else
    runs.store_i32(type, x, n, to);
}

// Calls f(operands, out, n) for chunks of values [begin, end); f computes in T, whatever the views' types are.
template <class T, size_t kOperands, class F>
void for_chunks(const cpu::TensorKernels& runs, const Runs<kOperands>& order, const View (&views)[kOperands], const View& out,
                size_t begin, size_t end, F&& f) {
  alignas(64) T chunks[kOperands + 1][kChunk];
  const bool direct = out.type == (std::is_same_v<T, float> ? TensorType::kF32 : TensorType::kI32);
  const size_t width = info(out.type).block_bytes;
  std::byte* to = out.data() + begin * width;
  order.for_each(begin, end, [&](const size_t(&offsets)[kOperands], size_t n) {
    for (size_t i = 0; i < n; i += kChunk) {
      const size_t m = std::min(kChunk, n - i);
      cpu::Operand<T> operands[kOperands];
      for (size_t v = 0; v < kOperands; v++)
        operands[v] = operand<T>(runs, views[v], offsets[v] + i * order.stride(v), order.stride(v), m, chunks[v]);
      T* result = direct ? reinterpret_cast<T*>(to) : chunks[kOperands];
      f(operands, result, m);
      if (!direct) store(runs, out.type, result, m, to);
      to += m * width;
    }
  });
}

}  // namespace

Result<View> unary(const Maker& make, cpu::Unary op, const View& x) {
  if (!is_float(x.type)) return not_fitting();
  INFERNODE_ASSIGN(out, make_view(x.type, x.shape, x.rank));
  make.job->costs(2 * x.size());
  const View* views[] = {&x};
  const Runs<1> order(views);
  const cpu::TensorKernels& runs = make.runs();
  make.job->add({items_of(order.size()), 0, [=, &runs, out = out](size_t begin, size_t end, std::byte*) {
                   const View all[] = {x};
                   for_chunks<float>(runs, order, all, out, begin * kItemValues, std::min(end * kItemValues, order.size()),
                                     [&](const cpu::Operand<float>(&operands)[1], float* to, size_t n) {
                                       if (!operands[0].one) return runs.unary(op, operands[0].data, to, n);
                                       runs.unary(op, operands[0].data, to, 1);
                                       std::fill(to + 1, to + n, to[0]);
                                     });
                 }});
  return out;
}

Result<View> binary(const Maker& make, cpu::Binary op, const View& a, const View& b) {
  size_t shape[kMaxRank], rank;
  const bool integers = is_integer(a.type);
  if (a.type != b.type || a.blocks() || !broadcast_shape(a, b, shape, rank)) return not_fitting();
  if (integers && (op == cpu::Binary::kDiv || op == cpu::Binary::kPow || op == cpu::Binary::kSwiglu)) return not_fitting();
  if (integers && a.type != TensorType::kI32 && !cpu::compares(op)) return not_fitting();
  INFERNODE_ASSIGN(out, make_view(cpu::compares(op) ? TensorType::kBool : a.type, shape, rank));
  make.job->costs(3 * out.size());
  const View x = broadcast(a, shape, rank), y = broadcast(b, shape, rank);
  const View* views[] = {&x, &y};
  const Runs<2> order(views);
  const cpu::TensorKernels& runs = make.runs();
  make.job->add({items_of(order.size()), 0, [=, &runs, out = out](size_t begin, size_t end, std::byte*) {
                   const View all[] = {x, y};
                   const size_t first = begin * kItemValues, last = std::min(end * kItemValues, order.size());
                   if (integers)
                     for_chunks<int32_t>(runs, order, all, out, first, last,
                                         [&](const cpu::Operand<int32_t>(&operands)[2], int32_t* to, size_t n) {
                                           runs.binary_i32(op, operands[0], operands[1], to, n);
                                         });
                   else
                     for_chunks<float>(runs, order, all, out, first, last,
                                       [&](const cpu::Operand<float>(&operands)[2], float* to, size_t n) {
                                         runs.binary(op, operands[0], operands[1], to, n);
                                       });
                 }});
  return out;
}

Result<View> where(const Maker& make, const View& condition, const View& a, const View& b) {
  size_t both[kMaxRank], shape[kMaxRank], rank;
  if (condition.type != TensorType::kBool || a.type != b.type || a.blocks() || !broadcast_shape(a, b, both, rank))
    return not_fitting();
  const View wide = broadcast(a, both, rank);
  if (!broadcast_shape(condition, wide, shape, rank)) return not_fitting();
  INFERNODE_ASSIGN(out, make_view(a.type, shape, rank));
  make.job->costs(4 * out.size());
  const View c = broadcast(condition, shape, rank), x = broadcast(a, shape, rank), y = broadcast(b, shape, rank);
  const View* views[] = {&c, &x, &y};
  const Runs<3> order(views);
  make.job->add({items_of(order.size()), 0, [=, out = out](size_t begin, size_t end, std::byte*) {
                   const size_t first = begin * kItemValues, width = info(out.type).block_bytes;
                   std::byte* to = out.data() + first * width;
                   order.for_each(first, std::min(end * kItemValues, order.size()), [&](const size_t(&offsets)[3], size_t n) {
                     const std::byte* test = c.data() + offsets[0];
                     const std::byte *yes = x.data() + offsets[1] * width, *no = y.data() + offsets[2] * width;
                     for (size_t i = 0; i < n; i++, to += width)
                       std::memcpy(to,
                                   test[i * order.stride(0)] != std::byte{0} ? yes + i * order.stride(1) * width
                                                                             : no + i * order.stride(2) * width,
                                   width);
                   });
                 }});
  return out;
}

}  // namespace infernode::tensor
