// One tensor op at work: phases of independent items, run a slice at a time between the steps of engines, or at once where
// called.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <vector>

#include "runtime.h"
#include "tensor/view.h"
#include "threading.h"

namespace infernode::tensor {

// Items in any order and partition; then the next phase. `scratch` is the thread's own, 64-byte aligned, contents arbitrary.
struct Phase {
  size_t items = 0;
  size_t scratch_bytes = 0;
  std::function<void(size_t begin, size_t end, std::byte* scratch)> run;
};

class Job : public SlicedWork {
 public:
  explicit Job(size_t n_threads) : n_threads_(n_threads) {}

  // ---- while it is made
  void add(Phase phase) {
    if (phase.items > 0) phases_.push_back(std::move(phase));
  }
  // The job reads these; where they are still being filled it waits.
  void reads(const View& view) { inputs_.push_back(view.storage); }
  void gives(const View& view) { outputs_.push_back(view.storage); }
  // What decides whether an op is small: values read and written, multiply-adds.
  void costs(size_t values, double multiply_adds = 0) {
    values_ += static_cast<double>(values);
    multiply_adds_ += multiply_adds;
  }
  double values() const { return values_; }
  double multiply_adds() const { return multiply_adds_; }
  size_t n_threads() const { return n_threads_; }
  const std::vector<std::shared_ptr<Storage>>& inputs() const { return inputs_; }
  const std::vector<std::shared_ptr<Storage>>& outputs() const { return outputs_; }
  // Called once, on the thread that finishes it.
  std::function<void(Status)> done;
  // Asked before memory is touched, and told afterwards: an isolate that ends waits for those that use its memory.
  std::function<bool()> enter;
  std::function<void()> leave;

  // ---- from any thread
  void cancel() { cancelled_.store(true); }
  // An item found something wrong with its input; the first one counts.
  void fail(Error error);

  // ---- at work
  // All of it on this thread; inputs are there.
  Status run_here();
  // SlicedWork, on the driver's thread.
  bool step(ThreadPool& pool) override;
  bool waits() override;
  void drop() override { phases_.clear(); }  // a producer's phases hold the storage that holds the producer
  // Of a producer: done, and how.
  bool finished() const { return finished_.load(std::memory_order_acquire); }
  const Status& outcome() const { return outcome_; }

 private:
  void finish(Status status);
  bool failed() const { return failed_.load(std::memory_order_relaxed); }
  Status allocate_scratch(size_t threads);
  void run_slice(ThreadPool& pool, size_t threads, std::chrono::steady_clock::time_point end);

  const size_t n_threads_;
  std::vector<Phase> phases_;
  std::vector<std::shared_ptr<Storage>> inputs_, outputs_;
  double values_ = 0, multiply_adds_ = 0;
  std::atomic<bool> cancelled_{false}, failed_{false}, finished_{false};
  Mutex mutex_;
  Error error_{};
  Status outcome_;
  // Where it is.
  size_t phase_ = 0, next_ = 0;
  Pages scratch_;
  size_t scratch_bytes_ = 0;
};

}  // namespace infernode::tensor
