// The memory behind tensors: counted by whoever uses it, so that work in flight never loses it.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "array.h"
#include "pages.h"

namespace infernode::tensor {

class Job;

class Storage {
 public:
  // Zeroed, aligned to 64 bytes. Large memory is taken from the system page by page when it is first written.
  static Result<std::shared_ptr<Storage>> make(size_t bytes);
  // For what an operation needs while it runs: contents arbitrary. One such block of up to 64 MB is kept for the next operation,
  // for new memory would have to be cleared by the system, page by page.
  static Result<std::shared_ptr<Storage>> make_scratch(size_t bytes);
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
  bool adopted_ = false, scratch_ = false;
  std::function<void()> release_;
  Array<std::byte> small_;
  Pages large_;
};

}  // namespace infernode::tensor
