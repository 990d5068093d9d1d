// Shapes and strides.
#include "tensor/view.h"

namespace infernode::tensor {

bool View::contiguous() const {
  size_t expected = 1;
  for (size_t d = rank; d-- > 0;) {
    if (shape[d] != 1 && strides[d] != expected) return false;
    expected *= shape[d];
  }
  return true;
}

Result<View> make_view(TensorType type, const size_t* shape, size_t rank, Storage::Contents contents) {
  View view;
  view.type = type;
  view.rank = rank;
  size_t n = 1;
  for (size_t d = rank; d-- > 0;) {
    view.shape[d] = shape[d];
    view.strides[d] = n;
    if (__builtin_mul_overflow(n, shape[d], &n) || n > SIZE_MAX / 16)
      return error(ErrorCode::kOutOfMemory, {"a tensor", "more than addressable"});
  }
  INFERNODE_ASSIGN(storage, Storage::make(row_bytes(type, n), contents));
  view.storage = storage;
  return view;
}

bool within_storage(const View& view) {
  const size_t values = view.storage->bytes() / info(view.type).block_bytes * info(view.type).block_values;
  if (view.offset > values) return false;
  const size_t block = info(view.type).block_values;
  if (block > 1) {
    if (view.rank == 0 || view.offset % block != 0 || view.last() % block != 0) return false;
    if (view.last() > 0 && view.strides[view.rank - 1] != 1) return false;
    for (size_t d = 0; d + 1 < view.rank; d++)
      if (view.strides[d] % block != 0) return false;
  }
  size_t last = view.offset, size = 1;
  for (size_t d = 0; d < view.rank; d++) {
    size_t span;
    if (__builtin_mul_overflow(size, view.shape[d], &size)) return false;
    if (view.shape[d] == 0) continue;
    if (__builtin_mul_overflow(view.shape[d] - 1, view.strides[d], &span) || __builtin_add_overflow(last, span, &last))
      return false;
  }
  for (size_t d = 0; d < view.rank; d++)
    if (view.shape[d] == 0) return true;
  return last < values;
}

bool collapse_after(const View& view, size_t n, View& out) {
  out = view;
  out.rank = n + 1;
  out.shape[n] = 1;
  out.strides[n] = 1;
  bool any = false;
  for (size_t d = n; d < view.rank; d++) {
    if (view.shape[d] == 1) continue;
    if (any && out.strides[n] != view.strides[d] * view.shape[d]) return false;
    out.shape[n] *= view.shape[d];
    out.strides[n] = view.strides[d];
    any = true;
  }
  return true;
}

View swapped(View view, size_t a, size_t b) {
  std::swap(view.shape[a], view.shape[b]);
  std::swap(view.strides[a], view.strides[b]);
  return view;
}

View broadcast(const View& view, const size_t* shape, size_t rank) {
  View wide = view;
  wide.rank = rank;
  for (size_t d = rank; d-- > 0;) {
    const size_t behind = rank - d;
    const bool there = behind <= view.rank;
    wide.shape[d] = shape[d];
    wide.strides[d] = !there || (view.shape[view.rank - behind] == 1 && shape[d] != 1) ? 0 : view.strides[view.rank - behind];
  }
  return wide;
}

}  // namespace infernode::tensor
