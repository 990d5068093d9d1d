// What threads did when: recorded while somebody asked, piece by piece, for `infernode bench --profile`.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "array.h"
#include "result.h"

namespace infernode {

// Times are nanoseconds since the profile was made.
struct ProfileEvent {
  uint64_t begin, end;
  uint32_t run;     // index into Profile::runs()
  uint32_t op;      // index into Plan::steps
  uint32_t thread;  // of the pool
};

// One run of a plan's body or head.
struct ProfileRun {
  uint64_t begin, end;
  uint64_t tokens, outputs;  // rows of the batch; rows of the head
  uint64_t positions;  // whose keys and values attention reads, over all sequences
  uint64_t pairs;      // of a query and a position that it sees, without windows
  uint32_t threads;    // among which its ops were shared out
  bool body;
};

// Memory is taken beforehand, so that recording is a clock and a store. Events past the end are counted, not kept.
class Profile {
 public:
  static Result<Profile> make(size_t max_events) {
    Profile profile;
    INFERNODE_ASSIGN(events, Array<ProfileEvent>::make(max_events, "the profile"));
    INFERNODE_ASSIGN(runs, Array<ProfileRun>::make(max_events / 16 + 1, "the profile"));
    profile.events_ = std::move(events);
    profile.runs_ = std::move(runs);
    return profile;
  }
  Profile(Profile&& other) noexcept { *this = std::move(other); }
  Profile& operator=(Profile&& other) noexcept {
    events_ = std::move(other.events_);
    runs_ = std::move(other.runs_);
    start_ = other.start_;
    n_events_.store(other.n_events_.load());
    n_runs_ = other.n_runs_;
    return *this;
  }

  uint64_t now() const {
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start_).count());
  }

  // The driver thread, around a run of the pool.
  void begin_run(const ProfileRun& run) {
    if (n_runs_ < runs_.size()) {
      runs_[n_runs_] = run;
      runs_[n_runs_].begin = now();
    }
  }
  void end_run() {
    if (n_runs_ < runs_.size()) runs_[n_runs_++].end = now();
  }
  // Any thread of the pool, during a run.
  void add(uint32_t op, int thread, uint64_t begin) {
    const size_t at = n_events_.fetch_add(1, std::memory_order_relaxed);
    if (at < events_.size()) events_[at] = {begin, now(), static_cast<uint32_t>(n_runs_), op, static_cast<uint32_t>(thread)};
  }

  const ProfileEvent* events() const { return events_.data(); }
  size_t n_events() const { return std::min(n_events_.load(), events_.size()); }
  size_t n_lost() const { return n_events_.load() - n_events(); }
  const ProfileRun* runs() const { return runs_.data(); }
  size_t n_runs() const { return n_runs_; }

 private:
  using Clock = std::chrono::steady_clock;
  Profile() = default;
  Array<ProfileEvent> events_;
  Array<ProfileRun> runs_;
  Clock::time_point start_ = Clock::now();
  std::atomic<size_t> n_events_{0};
  size_t n_runs_ = 0;
};

}  // namespace infernode
