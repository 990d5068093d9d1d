// Memory whose size comes from a model, a context or a request: allocation may fail, and says so.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>

#include "result.h"

namespace infernode {

// A fixed number of trivially copyable elements, aligned to 64 bytes, zeroed. Moves, never copies.
template <class T>
class Array {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Array() = default;
  Array(Array&& other) noexcept { *this = std::move(other); }
  Array& operator=(Array&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Array() { std::free(data_); }

  // `purpose` names the memory in the error, for example "scratch".
  static Result<Array> make(size_t n, const char* purpose) {
    Array array;
    if (n == 0) return array;
    if (n > (SIZE_MAX / 2) / sizeof(T)) return infernode::error(ErrorCode::kOutOfMemory, {purpose, "more than addressable"});
    const size_t bytes = (n * sizeof(T) + 63) & ~size_t{63};
    array.data_ = static_cast<T*>(std::aligned_alloc(64, bytes));
    if (!array.data_) return infernode::error(ErrorCode::kOutOfMemory, {purpose, std::to_string(bytes)});
    std::memset(static_cast<void*>(array.data_), 0, bytes);
    array.size_ = n;
    return array;
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  size_t size() const { return size_; }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }
  T* begin() { return data_; }
  T* end() { return data_ + size_; }

 private:
  T* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace infernode
