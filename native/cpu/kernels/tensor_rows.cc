// Conversions, reductions and softmax of Tensor.
#include "cpu/kernels/tensor_kernels_of_isa.h"
#include "cpu/kernels/tensor_math.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

template <class T>
INFERNODE_INLINE T element(const std::byte* from, ptrdiff_t i) {
  T value;
  __builtin_memcpy(&value, from + i * static_cast<ptrdiff_t>(sizeof(T)), sizeof value);
  return value;
}

template <class T, class Out>
INFERNODE_INLINE void load_numbers(const std::byte* from, ptrdiff_t stride, size_t n, Out* out) {
  if (stride == 1)
    for (size_t i = 0; i < n; i++) out[i] = static_cast<Out>(element<T>(from, static_cast<ptrdiff_t>(i)));
  else
    for (size_t i = 0; i < n; i++) out[i] = static_cast<Out>(element<T>(from, static_cast<ptrdiff_t>(i) * stride));
}

// F16 and Bf16: a vector at once where they lie side by side.
template <class Half>
INFERNODE_INLINE void load_halves(const std::byte* from, ptrdiff_t stride, size_t n, float* out) {
  constexpr size_t lanes = F32::lanes;
  Half some[lanes];
  for (size_t i = 0; i < n; i += lanes) {
    const size_t there = n - i < lanes ? n - i : lanes;
    if (stride == 1)
      __builtin_memcpy(some, from + i * sizeof(Half), there * sizeof(Half));
    else
      for (size_t j = 0; j < there; j++) some[j] = element<Half>(from, static_cast<ptrdiff_t>(i + j) * stride);
    store(out + i, load(some, there), there);
  }
}

template <class Half>
INFERNODE_INLINE void store_halves(const float* x, size_t n, std::byte* to) {
  constexpr size_t lanes = F32::lanes;
  Half some[lanes];
  for (size_t i = 0; i < n; i += lanes) {
    const size_t there = n - i < lanes ? n - i : lanes;
    store(some, load(x + i, there), there);
    __builtin_memcpy(to + i * sizeof(Half), some, there * sizeof(Half));
  }
}

// Towards zero; what does not fit becomes the nearest that does. NaN fails both comparisons.
template <class T>
INFERNODE_INLINE void store_integers(const float* x, size_t n, float lowest, float beyond, T smallest, T largest,
                                     std::byte* to) {
  for (size_t i = 0; i < n; i++) {
    const T value = x[i] >= beyond ? largest : x[i] > lowest ? static_cast<T>(x[i]) : x[i] <= lowest ? smallest : T{0};
    __builtin_memcpy(to + i * sizeof(T), &value, sizeof value);
  }
}

template <class T>
INFERNODE_INLINE void store_clamped(const int32_t* x, size_t n, int32_t smallest, int32_t largest, std::byte* to) {
  for (size_t i = 0; i < n; i++) {
    const T value = static_cast<T>(x[i] < smallest ? smallest : x[i] > largest ? largest : x[i]);
    __builtin_memcpy(to + i * sizeof(T), &value, sizeof value);
  }
}

// better(candidate, best) is never true where either is NaN.
template <class Better>
INFERNODE_INLINE Extreme extreme(const float* x, size_t n, float worst, Better&& better) {
  constexpr size_t lanes = F32::lanes;
  F32 value = F32::all(worst);
  I32 index = I32::iota(), here = index;
  for (size_t i = 0; i < n; i += lanes) {
    const Mask there = first_lanes(n - i);
    const F32 candidate = load(x + i, n - i);
    if (any(is_nan(candidate) & there))
      for (size_t j = i;; j++)
        if (x[j] != x[j]) return {x[j], static_cast<uint32_t>(j)};
    const Mask wins = better(candidate, value) & there;  // strictly: an equal value later does not replace an earlier one
    value = select(wins, candidate, value);
    index = select(wins, here, index);
    here = here + I32::all(static_cast<int32_t>(lanes));
  }
  float values[lanes];
  int32_t indices[lanes];
  store(values, value);
  store(indices, index);
  Extreme best = {values[0], static_cast<uint32_t>(indices[0])};
  for (size_t lane = 1; lane < lanes; lane++) {
    const uint32_t at = static_cast<uint32_t>(indices[lane]);
    const bool wins = worst < 0 ? values[lane] > best.value : values[lane] < best.value;
    if (at < n && (wins || (values[lane] == best.value && at < best.index))) best = {values[lane], at};
  }
  return best;
}

}  // namespace

void tensor_load(TensorType type, const std::byte* from, ptrdiff_t stride, size_t n, float* out) {
  switch (type) {
    case TensorType::kF32: return load_numbers<float>(from, stride, n, out);
    case TensorType::kF16: return load_halves<F16>(from, stride, n, out);
    case TensorType::kBf16: return load_halves<Bf16>(from, stride, n, out);
    case TensorType::kI32: return load_numbers<int32_t>(from, stride, n, out);
    case TensorType::kI8: return load_numbers<int8_t>(from, stride, n, out);
    default: return load_numbers<uint8_t>(from, stride, n, out);
  }
}

void tensor_store(TensorType type, const float* x, size_t n, std::byte* to) {
  switch (type) {
    case TensorType::kF32: __builtin_memmove(to, x, n * sizeof(float)); return;
    case TensorType::kF16: return store_halves<F16>(x, n, to);
    case TensorType::kBf16: return store_halves<Bf16>(x, n, to);
    case TensorType::kI32: return store_integers<int32_t>(x, n, -0x1p31f, 0x1p31f, INT32_MIN, INT32_MAX, to);
    case TensorType::kI8: return store_integers<int8_t>(x, n, -128.0f, 127.0f, -128, 127, to);
    case TensorType::kU8: return store_integers<uint8_t>(x, n, 0.0f, 255.0f, 0, 255, to);
    default:
      for (size_t i = 0; i < n; i++) to[i] = std::byte{x[i] != 0};
  }
}

void tensor_load_i32(TensorType type, const std::byte* from, ptrdiff_t stride, size_t n, int32_t* out) {
  switch (type) {
    case TensorType::kI32: return load_numbers<int32_t>(from, stride, n, out);
    case TensorType::kI8: return load_numbers<int8_t>(from, stride, n, out);
    default: return load_numbers<uint8_t>(from, stride, n, out);
  }
}

void tensor_store_i32(TensorType type, const int32_t* x, size_t n, std::byte* to) {
  switch (type) {
    case TensorType::kI32: __builtin_memmove(to, x, n * sizeof(int32_t)); return;
    case TensorType::kI8: return store_clamped<int8_t>(x, n, -128, 127, to);
    case TensorType::kU8: return store_clamped<uint8_t>(x, n, 0, 255, to);
    default:
      for (size_t i = 0; i < n; i++) to[i] = std::byte{x[i] != 0};
  }
}

float tensor_sum(const float* x, size_t n) {
  F32 partial[kSumVectors];
  for (F32& p : partial) p = F32::zero();
  size_t i = 0;
  for (; i + kPartialSums <= n; i += kPartialSums)
    for (size_t v = 0; v < kSumVectors; v++) partial[v] = partial[v] + load(x + i + v * F32::lanes);
  for (size_t v = 0; i < n; i += F32::lanes, v++) partial[v] = partial[v] + load(x + i, n - i);  // lanes past n add zero
  return fold_sum(partial);
}

Extreme tensor_largest(const float* x, size_t n) {
  return extreme(x, n, -__builtin_inff(), [](F32 candidate, F32 best) { return less(best, candidate); });
}
Extreme tensor_smallest(const float* x, size_t n) {
  return extreme(x, n, __builtin_inff(), [](F32 candidate, F32 best) { return less(candidate, best); });
}

void tensor_softmax(const float* x, float* out, size_t n) {
  if (n == 0) return;
  const F32 largest = F32::all(tensor_largest(x, n).value);
  F32 partial[kSumVectors];
  for (F32& p : partial) p = F32::zero();
  for (size_t i = 0; i < n; i += kPartialSums)
    for (size_t v = 0; v < kSumVectors && i + v * F32::lanes < n; v++) {
      const size_t at = i + v * F32::lanes;
      const F32 term = exp(load(x + at, n - at) - largest);
      store(out + at, term, n - at);
      partial[v] = partial[v] + select(first_lanes(n - at), term, F32::zero());
    }
  const F32 total = F32::all(fold_sum(partial));
  for (size_t i = 0; i < n; i += F32::lanes) store(out + i, load(out + i, n - i) / total, n - i);
}

// Plain loops: compilers know this pattern and use the variant's own dot products.
// Chains that never wait for each other; no compiler may reorder or shorten them.
float f32_probe(uint64_t multiply_adds) {
  constexpr size_t kChains = 12;
  F32 sums[kChains];
#pragma GCC unroll 12
  for (size_t i = 0; i < kChains; i++) sums[i] = F32::all(static_cast<float>(i));
  const F32 a = F32::all(0.999f), b = F32::all(0.001f);
  for (uint64_t done = 0; done < multiply_adds; done += kChains * F32::lanes) {
#pragma GCC unroll 12
    for (size_t i = 0; i < kChains; i++) sums[i] = fma(sums[i], a, b);
  }
#pragma GCC unroll 12
  for (size_t i = 1; i < kChains; i++) sums[0] = sums[0] + sums[i];
  return sum(sums[0]);
}

}  // namespace infernode::cpu::INFERNODE_ISA
