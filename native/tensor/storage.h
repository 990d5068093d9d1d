// The memory behind tensors: counted by whoever uses it, so that work in flight never loses it.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "array.h"
#include "spare_pages.h"

namespace infernode::tensor {

class Job;

class Storage {
 public:
  enum class Contents { kAny, kZeros };
  // Aligned to 64 bytes. Large memory is taken from the system page by page when it is first written; with any contents, it may be
  // what another one let go of (spare_pages.h).
  static Result<std::shared_ptr<Storage>> make(size_t bytes, Contents contents = Contents::kAny);
  // Somebody else's memory, unchanged until `release` is called, by whichever thread lets go last.
  static std::shared_ptr<Storage> adopt(std::byte* data, size_t bytes, std::function<void()> release);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  bool adopted() const { return adopted_; }

  // The job that fills it, where that goes on after the tensor was handed out; null once it is known to be done.
  std::shared_ptr<Job> producer;

 private:
  Storage() = default;
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
  bool adopted_ = false;
  std::function<void()> release_;
  Array<std::byte> small_;
  Pages large_;
};

}  // namespace infernode::tensor
