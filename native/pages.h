// Zeroed memory straight from the operating system: reserved at once, taken page by page when first written.
#pragma once

#include <cstddef>
#include <utility>

#include "result.h"

namespace infernode {

// For arenas and the KV cache, whose worst case is far above what most runs touch. Moves, never copies.
class Pages {
 public:
  Pages() = default;
  Pages(Pages&& other) noexcept { *this = std::move(other); }
  Pages& operator=(Pages&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Pages();

  // `purpose` names the memory in kOutOfMemory. Zero bytes give an empty one. `large`, from 4 MB on: in pages of 2 MB where the system grants
  // them and the memory is large enough for that to be no waste: quicker to read, slower to write to for the first time.
  static Result<Pages> make(size_t bytes, const char* purpose, bool large = false);

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  // Gives the memory of a range back; it reads as zero afterwards. The range is rounded inwards to whole pages.
  void release(size_t offset, size_t bytes);

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace infernode
