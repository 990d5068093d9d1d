// The compute threads: one pool per driver, all of them walking a step together, asleep when there is none.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "result.h"
#include "threading.h"

namespace infernode {

// Round to nearest, denormals kept: kernels promise the same bits on every thread, whatever the host program has set.
// Every thread that computes calls it once; the pool's own threads do so themselves.
void set_float_environment();

// Where the threads of one ThreadPool::run() meet and share out work. Between two meetings lies one step.
class Barrier {
 public:
  // Returns when all threads of the run have called it. What any of them wrote before is visible to all of them after.
  // `thread` is the caller's number in the run. A wait spins briefly, then sleeps.
  void wait(int thread);

  // Claims up to `grain` (at least 1) of the items [0, n) and returns the first; n or more: none are left. The claimed range
  // ends at min(begin + grain, n). All threads of a step pass the same n. Each meeting starts a new count: its last arriver
  // resets it, when nobody can be claiming and nobody has left yet.
  size_t claim(size_t grain, size_t n) {
    const size_t begin = claimed_.fetch_add(grain, std::memory_order_relaxed);
    return begin < n ? begin : n;
  }

 private:
  friend class ThreadPool;

  // How long a thread spins before it sleeps, in turns of the spin loop; see wait() for how it adapts. One cache line each.
  struct alignas(64) Patience {
    uint32_t turns;
  };

  explicit Barrier(int max_threads);
  void start(int n_threads);
  // Spins, then sleeps until `word` is no longer `old`. `sleepers` counts who must be woken.
  void await(const std::atomic<uint32_t>& word, uint32_t old, std::atomic<uint32_t>& sleepers, Patience& patience);

  std::vector<Patience> patience_;
  uint32_t longest_;   // turns, measured when the pool is made
  uint32_t shortest_;
  alignas(64) std::atomic<size_t> claimed_{0};
  alignas(64) std::atomic<uint32_t> arrived_{0};
  alignas(64) std::atomic<uint32_t> phase_{0};
  alignas(64) std::atomic<uint32_t> sleepers_{0};
  uint32_t n_threads_ = 1;
};

// `threads` threads in all: the caller of run() is thread 0, the others belong to the pool. No thread runs when none is needed.
class ThreadPool {
 public:
  using Body = void (*)(void* context, int thread, Barrier& barrier);

  // threads: 1 to 1024. OUT_OF_MEMORY if the system grants no more threads.
  static Result<std::unique_ptr<ThreadPool>> make(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(context, thread, barrier) on n_threads threads at once (1 to size(); more counts as size()) and returns when
  // all have returned. One caller at a time. Every thread must call barrier.wait() equally often.
  void run(int n_threads, Body body, void* context);

 private:
  struct alignas(64) Worker {
    ThreadPool* pool;
    int number;
    std::atomic<uint32_t> runs{0};  // how many runs it was called to
    std::atomic<uint32_t> asleep{0};
    Barrier::Patience patience;  // for the next run, apart from that within one: a long pause says nothing about the ops
    StartedThread thread;
  };

  explicit ThreadPool(int threads) : barrier_(threads) {}
  static void work(void* worker);

  Barrier barrier_;
  std::vector<std::unique_ptr<Worker>> workers_;
  Body body_ = nullptr;  // of the run in progress; nullptr in a call to a worker means: leave
  void* context_ = nullptr;
};

}  // namespace infernode
