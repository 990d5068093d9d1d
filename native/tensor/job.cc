// Slices of tensor ops.
#include "tensor/job.h"

#include <algorithm>
#include <chrono>

namespace infernode::tensor {

namespace {
using Clock = std::chrono::steady_clock;
// A slice of a long op: long enough that starting it costs nothing, short beside an engine's step.
constexpr double kSliceSeconds = 0.004;
}  // namespace

void Job::fail(Error error) {
  Lock lock(mutex_);
  if (failed()) return;
  error_ = std::move(error);
  failed_.store(true);
}

Status Job::allocate_scratch(size_t threads) {
  for (const Phase& phase : phases_) scratch_bytes_ = std::max(scratch_bytes_, phase.scratch_bytes);
  scratch_bytes_ = (scratch_bytes_ + 63) & ~size_t{63};
  if (scratch_bytes_ == 0 || scratch_.size() > 0) return {};
  INFERNODE_ASSIGN(pages, SparePages::shared().take(scratch_bytes_ * threads, "the kernels' workspace"));
  scratch_ = std::move(pages);
  return {};
}

Status Job::run_here() {
  INFERNODE_TRY(allocate_scratch(1));
  for (const Phase& phase : phases_) {
    phase.run(0, phase.items, scratch_.data());
    if (failed()) return error_;
  }
  return {};
}

void Job::finish(Status status) {
  outcome_ = status;
  finished_.store(true, std::memory_order_release);
  phases_.clear();  // and with them what the items hold
  inputs_.clear();
  SparePages::shared().give(std::move(scratch_));
  if (done) done(std::move(status));
  done = nullptr;
}

bool Job::waits() {
  if (cancelled_.load()) return false;
  for (const auto& input : inputs_)
    if (input->producer && !input->producer->finished()) return true;
  return false;
}

bool Job::step(ThreadPool& pool) {
  if (cancelled_.load()) return finish(error(ErrorCode::kAborted, {"The operation"})), false;
  for (const auto& input : inputs_)
    if (input->producer && !input->producer->outcome()) return finish(input->producer->outcome()), false;
  const size_t threads = std::min(n_threads_, static_cast<size_t>(pool.size()));
  if (phase_ == 0 && next_ == 0)
    if (Status status = allocate_scratch(threads); !status) return finish(std::move(status)), false;
  if (enter && !enter()) return finish(error(ErrorCode::kAborted, {"The operation"})), false;
  const auto begin = Clock::now();
  while (phase_ < phases_.size() && !failed()) {
    const Phase& phase = phases_[phase_];
    if (next_ == 0) slice_ = threads * 2;
    struct Slice {
      Job& job;
      const Phase& phase;
      size_t first;
    } slice{*this, phase, next_};
    const size_t n = std::min(slice_, phase.items - next_);
    const auto start = Clock::now();
    const ThreadPool::Section section{n, std::max<size_t>(1, n / (threads * 4))};
    pool.run(
        static_cast<int>(n == 1 ? 1 : threads), &section, 1,
        [](void* context, size_t, size_t first, size_t last, int thread) {
          Slice& s = *static_cast<Slice*>(context);
          s.phase.run(s.first + first, s.first + last,
                      s.job.scratch_.data() + s.job.scratch_bytes_ * static_cast<size_t>(thread));
        },
        &slice);
    next_ += n;
    const auto now = Clock::now();
    const double took = std::max(1e-7, std::chrono::duration<double>(now - start).count());
    // As many items as fill a slice at this rate, at most four times as many as before, and the same number for each thread: items
    // may be long, and nobody has anything else to do meanwhile.
    slice_ = static_cast<size_t>(
        std::clamp(static_cast<double>(n) * kSliceSeconds / took, static_cast<double>(threads), static_cast<double>(n) * 4));
    slice_ = std::max(threads, slice_ - slice_ % threads);
    if (next_ == phase.items) {
      phase_++;
      next_ = 0;
    }
    if (std::chrono::duration<double>(now - begin).count() >= kSliceSeconds) break;
  }
  if (leave) leave();
  if (failed()) return finish(error_), false;
  if (phase_ < phases_.size()) return true;
  return finish({}), false;
}

}  // namespace infernode::tensor
