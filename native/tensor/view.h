// A tensor as native code sees it: where its values lie. Reshaping, slicing and transposing make other views of the same
// storage.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "generated/tensor_types.h"
#include "tensor/storage.h"

namespace infernode::tensor {

inline constexpr size_t kMaxRank = 8;

// Offset and strides count values. Values of block types (q8_0, …) lie side by side along the last dimension, in whole blocks.
struct View {
  std::shared_ptr<Storage> storage;
  TensorType type = TensorType::kF32;
  size_t rank = 0;
  size_t offset = 0;
  size_t shape[kMaxRank] = {};
  size_t strides[kMaxRank] = {};  // 0 where a dimension repeats (broadcasting)

  size_t size() const {
    size_t n = 1;
    for (size_t d = 0; d < rank; d++) n *= shape[d];
    return n;
  }
  size_t last() const { return shape[rank - 1]; }
  std::byte* data() const { return storage->data() + row_bytes(type, offset); }
  bool blocks() const { return info(type).block_values > 1; }
  bool contiguous() const;
  // Values side by side in the last dimension.
  bool dense_rows() const { return rank > 0 && (strides[rank - 1] == 1 || last() <= 1); }
};

inline bool is_float(TensorType type) {
  return type == TensorType::kF32 || type == TensorType::kF16 || type == TensorType::kBf16;
}
inline bool is_integer(TensorType type) {
  return type == TensorType::kI32 || type == TensorType::kI8 || type == TensorType::kU8 || type == TensorType::kBool;
}

// A contiguous view of storage of its own.
Result<View> make_view(TensorType type, const size_t* shape, size_t rank, Storage::Contents contents = Storage::Contents::kAny);
// Whether every value lies within the storage, and blocks are whole.
bool within_storage(const View& view);
// The view with `n` leading dimensions and the others as one, where their strides allow it: false if they do not.
bool collapse_after(const View& view, size_t n, View& out);
// The same values with dimensions a and b exchanged.
View swapped(View view, size_t a, size_t b);
// `view` read as if it had this shape, by repeating dimensions of 1 and adding ones in front. The shapes fit.
View broadcast(const View& view, const size_t* shape, size_t rank);

// Walks views of one shape in row-major order, in runs along the innermost dimension, after merging dimensions that lie one
// behind the other in all of them.
template <size_t kViews>
class Runs {
 public:
  explicit Runs(const View* (&views)[kViews]) {
    const View& first = *views[0];
    for (size_t d = 0; d < first.rank; d++) {
      if (first.shape[d] == 1) continue;
      bool merges = rank_ > 0;
      for (size_t v = 0; v < kViews && merges; v++) merges = strides_[v][rank_ - 1] == views[v]->strides[d] * first.shape[d];
      if (!merges) shape_[rank_++] = 1;
      shape_[rank_ - 1] *= first.shape[d];
      for (size_t v = 0; v < kViews; v++) strides_[v][rank_ - 1] = views[v]->strides[d];
    }
    if (rank_ == 0) {
      shape_[rank_++] = 1;
      for (size_t v = 0; v < kViews; v++) strides_[v][0] = 1;
    }
    size_ = first.size();
  }
  size_t size() const { return size_; }
  size_t stride(size_t view) const { return strides_[view][rank_ - 1]; }
  size_t rank() const { return rank_; }
  size_t shape(size_t d) const { return shape_[d]; }
  size_t stride(size_t view, size_t d) const { return strides_[view][d]; }

  // body(offsets of the run in each view, n) for the values [begin, end) in row-major order.
  template <class Body>
  void for_each(size_t begin, size_t end, Body&& body) const {
    if (begin >= end) return;
    size_t at[kMaxRank], rest = begin;
    for (size_t d = rank_; d-- > 0;) {
      at[d] = rest % shape_[d];
      rest /= shape_[d];
    }
    while (begin < end) {
      size_t offsets[kViews];
      for (size_t v = 0; v < kViews; v++) {
        offsets[v] = 0;
        for (size_t d = 0; d < rank_; d++) offsets[v] += at[d] * strides_[v][d];
      }
      size_t n = shape_[rank_ - 1] - at[rank_ - 1];
      if (n > end - begin) n = end - begin;
      body(offsets, n);
      begin += n;
      at[rank_ - 1] += n;
      for (size_t d = rank_; d-- > 1 && at[d] == shape_[d];) {
        at[d] = 0;
        at[d - 1]++;
      }
    }
  }

 private:
  size_t rank_ = 0, size_ = 0;
  size_t shape_[kMaxRank] = {}, strides_[kViews][kMaxRank] = {};
};

}  // namespace infernode::tensor
