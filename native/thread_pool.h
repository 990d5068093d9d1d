// The compute threads: they share out the work of a run, section by section, and sleep when there is none.
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

// `threads` threads in all: the caller of run() is thread 0, the others belong to the pool. No thread runs when none is needed.
//
// A section ends when its work is done, not when all threads have met: a thread that has lost its core to a neighbour holds up the
// others by the piece that it is working on at most, and one that comes late finds the section at hand.
class ThreadPool {
 public:
  // A part of a run: items [0, items) in any order and partition; then the next section. `grain` (at least 1) items are a piece;
  // before these there is a larger one of `head` items for each thread, if there are enough.
  struct Section {
    size_t items;
    size_t grain;
    size_t head = 0;
  };
  // Does the items [begin, end) of a section. `thread` is a number below n_threads that nobody else has at the same time.
  using Body = void (*)(void* context, size_t section, size_t begin, size_t end, int thread);

  // threads: 1 to 1024. OUT_OF_MEMORY if the system grants no more threads.
  static Result<std::unique_ptr<ThreadPool>> make(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // Does all sections, one after another, on n_threads threads (1 to size(); more counts as size()). What a section wrote is seen
  // by the next one and by the caller. One caller at a time. A section has fewer than 2^32 pieces.
  void run(int n_threads, const Section* sections, size_t n_sections, Body body, void* context);

 private:
  // How long a thread spins before it sleeps, in turns of the spin loop; see rest() for how it adapts.
  struct Patience {
    uint32_t turns = 0;
  };
  struct alignas(64) Worker {
    ThreadPool* pool;
    int number;
    Patience patience;
    StartedThread thread;
  };

  ThreadPool();
  static void work(void* worker);
  bool do_piece(int thread);
  void open(size_t section);
  void wake_sleepers();
  bool offered(int thread) const;
  template <class Ready>
  void rest(Patience& patience, Ready ready);

  std::vector<std::unique_ptr<Worker>> workers_;
  Patience patience_;  // of thread 0
  uint32_t longest_;   // turns, measured when the pool is made
  uint32_t shortest_;

  // The work at hand. Written by who opens a section, before the offer; read by who has taken a piece of it. It cannot change
  // before that piece is done.
  const Section* sections_ = nullptr;
  size_t n_sections_ = 0;
  size_t section_ = 0;
  size_t n_pieces_ = 0;
  size_t n_heads_ = 0;  // the first of the pieces
  Body body_ = nullptr;
  void* context_ = nullptr;
  uint64_t n_threads_ = 1;

  // n_threads << 32 | pieces of this section that nobody has taken. Taking one is the only way into a run, so a thread that slept
  // through a run, or holds an offer of long ago, can do no harm: what it takes is always a piece of the section at hand.
  alignas(64) std::atomic<uint64_t> offer_{0};
  alignas(64) std::atomic<uint64_t> unfinished_{0};  // pieces of this section
  alignas(64) std::atomic<uint32_t> runs_done_{0};
  alignas(64) std::atomic<uint32_t> bell_{0};      // what threads without work sleep on
  std::atomic<uint32_t> sleepers_{0};
  alignas(64) std::atomic<uint32_t> limit_{1};     // threads of the latest run: the others sleep on this
  std::atomic<bool> stop_{false};
};

}  // namespace infernode
