// Elementwise arithmetic of Tensor over runs of f32 and i32.
#include "cpu/kernels/activation_functions.h"
#include "cpu/kernels/tensor_kernels_of_isa.h"
#include "cpu/kernels/tensor_math.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

template <class F>
INFERNODE_INLINE void map(const float* x, float* out, size_t n, F&& f) {
  for (size_t i = 0; i < n; i += F32::lanes) store(out + i, f(load(x + i, n - i)), n - i);
}

template <class F>
INFERNODE_INLINE void map(Operand<float> a, Operand<float> b, float* out, size_t n, F&& f) {
  const auto loop = [&](auto&& left, auto&& right) __attribute__((always_inline)) {
    for (size_t i = 0; i < n; i += F32::lanes) store(out + i, f(left(i), right(i)), n - i);
  };
  const auto values_of = [n](const float* p) {
    return [ p, n ](size_t i) __attribute__((always_inline)) { return load(p + i, n - i); };
  };
  const auto all_of = [](float x) {
    return [v = F32::all(x)](size_t) __attribute__((always_inline)) { return v; };
  };
  if (n == 0) return;
  // Read before anything is written: out may begin at the one value.
  if (a.one && b.one) return loop(all_of(*a.data), all_of(*b.data));
  if (a.one) return loop(all_of(*a.data), values_of(b.data));
  if (b.one) return loop(values_of(a.data), all_of(*b.data));
  return loop(values_of(a.data), values_of(b.data));
}

INFERNODE_INLINE F32 one_if(Mask m) { return select(m, F32::all(1.0f), F32::zero()); }
INFERNODE_INLINE Mask same(F32 a, F32 b) { return !(less(a, b) | less(b, a) | is_nan(a) | is_nan(b)); }

template <class F>
INFERNODE_INLINE void map_i32(Operand<int32_t> a, Operand<int32_t> b, int32_t* out, size_t n, F&& f) {
  if (n == 0) return;
  const int32_t left = *a.data, right = *b.data;
  for (size_t i = 0; i < n; i++) out[i] = f(a.one ? left : a.data[i], b.one ? right : b.data[i]);
}

INFERNODE_INLINE uint32_t wrapped(int32_t x) { return static_cast<uint32_t>(x); }

}  // namespace

void tensor_unary(Unary op, const float* x, float* out, size_t n) {
  const F32 zero = F32::zero(), one = F32::all(1.0f);
  switch (op) {
    case Unary::kNeg: return map(x, out, n, [](F32 v) { return negated(v); });
    case Unary::kAbs: return map(x, out, n, [](F32 v) { return abs(v); });
    case Unary::kSqrt: return map(x, out, n, [](F32 v) { return square_root(v); });
    case Unary::kExp: return map(x, out, n, [](F32 v) { return exp(v); });
    case Unary::kLog: return map(x, out, n, [](F32 v) { return log(v); });
    case Unary::kTanh: return map(x, out, n, [](F32 v) { return tanh(v); });
    case Unary::kSigmoid: return map(x, out, n, [=](F32 v) { return one / (one + exp(zero - v)); });
    case Unary::kRelu: return map(x, out, n, [=](F32 v) { return max(zero, v); });
    case Unary::kSquare: return map(x, out, n, [](F32 v) { return v * v; });
    case Unary::kReciprocal: return map(x, out, n, [=](F32 v) { return one / v; });
    case Unary::kSilu: return map(x, out, n, [](F32 v) { return silu(v); });
    case Unary::kGelu: return map(x, out, n, [](F32 v) { return gelu(v); });
    case Unary::kGeluTanh: return map(x, out, n, [](F32 v) { return gelu_tanh(v); });
  }
}

void tensor_binary(Binary op, Operand<float> a, Operand<float> b, float* out, size_t n) {
  switch (op) {
    case Binary::kAdd: return map(a, b, out, n, [](F32 x, F32 y) { return x + y; });
    case Binary::kSub: return map(a, b, out, n, [](F32 x, F32 y) { return x - y; });
    case Binary::kMul: return map(a, b, out, n, [](F32 x, F32 y) { return x * y; });
    case Binary::kDiv: return map(a, b, out, n, [](F32 x, F32 y) { return x / y; });
    case Binary::kPow: return map(a, b, out, n, [](F32 x, F32 y) { return power(x, y); });
    // min(x, y) is y where either is NaN, so that only a NaN of x needs care.
    case Binary::kMinimum: return map(a, b, out, n, [](F32 x, F32 y) { return select(is_nan(x), x, min(x, y)); });
    case Binary::kMaximum: return map(a, b, out, n, [](F32 x, F32 y) { return select(is_nan(x), x, max(x, y)); });
    case Binary::kSwiglu: return map(a, b, out, n, [](F32 x, F32 y) { return silu(x) * y; });
    case Binary::kEqual: return map(a, b, out, n, [](F32 x, F32 y) { return one_if(same(x, y)); });
    case Binary::kNotEqual: return map(a, b, out, n, [](F32 x, F32 y) { return one_if(!same(x, y)); });
    case Binary::kLess: return map(a, b, out, n, [](F32 x, F32 y) { return one_if(less(x, y)); });
    case Binary::kLessEqual: return map(a, b, out, n, [](F32 x, F32 y) { return one_if(less(x, y) | same(x, y)); });
    case Binary::kGreater: return map(a, b, out, n, [](F32 x, F32 y) { return one_if(less(y, x)); });
    case Binary::kGreaterEqual: return map(a, b, out, n, [](F32 x, F32 y) { return one_if(less(y, x) | same(x, y)); });
  }
}

void tensor_binary_i32(Binary op, Operand<int32_t> a, Operand<int32_t> b, int32_t* out, size_t n) {
  switch (op) {
    case Binary::kAdd:
      return map_i32(a, b, out, n, [](int32_t x, int32_t y) { return static_cast<int32_t>(wrapped(x) + wrapped(y)); });
    case Binary::kSub:
      return map_i32(a, b, out, n, [](int32_t x, int32_t y) { return static_cast<int32_t>(wrapped(x) - wrapped(y)); });
    case Binary::kMul:
      return map_i32(a, b, out, n, [](int32_t x, int32_t y) { return static_cast<int32_t>(wrapped(x) * wrapped(y)); });
    case Binary::kMinimum: return map_i32(a, b, out, n, [](int32_t x, int32_t y) { return x < y ? x : y; });
    case Binary::kMaximum: return map_i32(a, b, out, n, [](int32_t x, int32_t y) { return x > y ? x : y; });
    case Binary::kEqual: return map_i32(a, b, out, n, [](int32_t x, int32_t y) { return static_cast<int32_t>(x == y); });
    case Binary::kNotEqual: return map_i32(a, b, out, n, [](int32_t x, int32_t y) { return static_cast<int32_t>(x != y); });
    case Binary::kLess: return map_i32(a, b, out, n, [](int32_t x, int32_t y) { return static_cast<int32_t>(x < y); });
    case Binary::kLessEqual: return map_i32(a, b, out, n, [](int32_t x, int32_t y) { return static_cast<int32_t>(x <= y); });
    case Binary::kGreater: return map_i32(a, b, out, n, [](int32_t x, int32_t y) { return static_cast<int32_t>(x > y); });
    case Binary::kGreaterEqual: return map_i32(a, b, out, n, [](int32_t x, int32_t y) { return static_cast<int32_t>(x >= y); });
    default: return;
  }
}

}  // namespace infernode::cpu::INFERNODE_ISA
