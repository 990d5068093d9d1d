// Slices of tensor ops.
#include "tensor/job.h"

#include <algorithm>
#include <chrono>

namespace infernode::tensor {

namespace {
using Clock = std::chrono::steady_clock;
// A slice of a long op: long enough that starting it costs nothing, short beside an engine's step.
constexpr std::chrono::milliseconds kSlice{4};

double seconds(std::chrono::duration<double> time) { return time.count(); }
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

// Threads take pieces of the phase, one item after another, until it is done or time is up. Pieces are runs of items, which kernels
// may fetch ahead along, of as many as fit into a part of the slice and before its end, and leave enough for the others.
void Job::run_slice(ThreadPool& pool, size_t threads, std::chrono::steady_clock::time_point end) {
  struct Slice {
    Job& job;
    const Phase& phase;
    const size_t threads;
    const Clock::time_point end;
    std::atomic<size_t> next;

    void run(std::byte* scratch) {
      size_t n = 1;
      for (auto start = Clock::now();;) {
        const size_t first = next.fetch_add(n);
        if (first >= phase.items) return;
        const size_t last = std::min(first + n, phase.items);
        phase.run(first, last, scratch);
        const auto now = Clock::now();
        if (now >= end || job.failed()) return;
        const double item = std::max(1e-9, seconds(now - start) / static_cast<double>(last - first));
        const double fitting = std::min(seconds(kSlice) / 4, seconds(end - now)) / item;
        const double shared = static_cast<double>(phase.items - last) / static_cast<double>(2 * threads);
        n = static_cast<size_t>(std::clamp(std::min(fitting, shared), 1.0, static_cast<double>(n) * 4));
        start = now;
      }
    }
  } slice{*this, phases_[phase_], threads, end, next_};
  const size_t n_threads = std::min(threads, slice.phase.items - next_);
  const ThreadPool::Section section{n_threads, 1};
  pool.run(
      static_cast<int>(n_threads), &section, 1,
      [](void* context, size_t, size_t, size_t, int thread) {
        Slice& s = *static_cast<Slice*>(context);
        s.run(s.job.scratch_.data() + s.job.scratch_bytes_ * static_cast<size_t>(thread));
      },
      &slice);
  next_ = slice.next.load();
  if (next_ < slice.phase.items) return;
  phase_++;
  next_ = 0;
}

bool Job::step(ThreadPool& pool) {
  if (cancelled_.load()) return finish(error(ErrorCode::kAborted, {"The operation"})), false;
  for (const auto& input : inputs_)
    if (input->producer && !input->producer->outcome()) return finish(input->producer->outcome()), false;
  const size_t threads = std::min(n_threads_, static_cast<size_t>(pool.size()));
  if (phase_ == 0 && next_ == 0)
    if (Status status = allocate_scratch(threads); !status) return finish(std::move(status)), false;
  if (enter && !enter()) return finish(error(ErrorCode::kAborted, {"The operation"})), false;
  const auto end = Clock::now() + kSlice;
  while (phase_ < phases_.size() && !failed() && Clock::now() < end) run_slice(pool, threads, end);
  if (leave) leave();
  if (failed()) return finish(error_), false;
  if (phase_ < phases_.size()) return true;
  return finish({}), false;
}

}  // namespace infernode::tensor
