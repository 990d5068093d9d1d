// The compute threads. Everything here is about waiting: cheaply when all threads have a core of their own, and without stealing
// the core of the very thread that is waited for when they have not.
#include "thread_pool.h"

#include <algorithm>
#include <chrono>

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#elif !defined(__aarch64__)
#include <cfenv>
#endif

namespace infernode {

namespace {

// Waits between threads that all have a core are far below this: the rest of a piece at the end of an op, and some 60 µs between two
// steps. Longer ones mean that a thread lost its core, or that an op has work for few threads. Not much shorter either: beside a busy
// neighbour a thread that sleeps may get its core back only after the neighbour's slice of milliseconds, so to sleep through what a
// spin would have outlasted costs most (half a microsecond at least: 32 % of the quiet speed were left instead of 41 %).
constexpr double kLongestSpinMicroseconds = 120;
constexpr double kShortestSpinMicroseconds = 60;

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");  // yield is a no-op on most cores
#endif
}

// The spin loop's turns per microsecond: a pause takes from 10 to 140 cycles, depending on the CPU. The fastest of a few tries
// counts, as a neighbour can only slow them down.
double measure_turns() {
  using Clock = std::chrono::steady_clock;
  constexpr int kTurns = 256;
  const std::atomic<uint32_t> word{0};
  double best = 1;
  for (int i = 0; i < 5; i++) {
    const auto begin = Clock::now();
    for (int turn = 0; turn < kTurns && word.load(std::memory_order_acquire) == 0; turn++) pause();
    const double microseconds = std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
    if (microseconds > 0) best = std::max(best, kTurns / microseconds);
  }
  return best;
}

}  // namespace

void set_float_environment() {
#if defined(__x86_64__) || defined(__i386__)
  _mm_setcsr(0x1f80);  // the state at power-on: round to nearest, no FTZ, no DAZ, all exceptions masked
#elif defined(__aarch64__)
  __asm__ volatile("msr fpcr, %0" ::"r"(uint64_t{0}));
#else
  std::fesetround(FE_TONEAREST);
#endif
}

ThreadPool::ThreadPool() {
  const double turns = measure_turns();
  longest_ = static_cast<uint32_t>(turns * kLongestSpinMicroseconds);
  shortest_ = std::max<uint32_t>(1, static_cast<uint32_t>(turns * kShortestSpinMicroseconds));
  patience_ = {longest_};
}

Result<std::unique_ptr<ThreadPool>> ThreadPool::make(int threads) {
  if (threads < 1 || threads > 1024)
    return error(ErrorCode::kInvalidArgument, {"threads", "1 to 1024", std::to_string(threads)});
  std::unique_ptr<ThreadPool> pool(new ThreadPool);
  pool->limit_.store(static_cast<uint32_t>(threads));
  for (int number = 1; number < threads; number++) {
    auto worker = std::make_unique<Worker>();
    worker->pool = pool.get();
    worker->number = number;
    worker->patience = {pool->longest_};
    if (!worker->thread.start(&ThreadPool::work, worker.get(), "infernode"))
      return error(ErrorCode::kOutOfMemory, {"compute thread " + std::to_string(number + 1) + " (the system grants no more)", "The"});
    pool->workers_.push_back(std::move(worker));
  }
  return pool;
}

ThreadPool::~ThreadPool() {
  stop_.store(true, std::memory_order_seq_cst);
  bell_.fetch_add(1, std::memory_order_seq_cst);
  bell_.notify_all();
  limit_.store(UINT32_MAX, std::memory_order_seq_cst);
  limit_.notify_all();
  for (auto& worker : workers_) worker->thread.join();
}

void ThreadPool::run(int n_threads, const Section* sections, size_t n_sections, Body body, void* context) {
  n_threads = std::clamp(n_threads, 1, size());
  if (n_threads == 1) {
    for (size_t s = 0; s < n_sections; s++)
      if (sections[s].items > 0) body(context, s, 0, sections[s].items, 0);
    return;
  }
  if (limit_.load(std::memory_order_relaxed) != static_cast<uint32_t>(n_threads)) {
    limit_.store(static_cast<uint32_t>(n_threads), std::memory_order_seq_cst);
    limit_.notify_all();
  }
  sections_ = sections;
  n_sections_ = n_sections;
  body_ = body;
  context_ = context;
  n_threads_ = static_cast<uint64_t>(n_threads);
  const uint32_t done = runs_done_.load(std::memory_order_relaxed);
  open(0);
  const auto finished = [&] { return runs_done_.load(std::memory_order_seq_cst) != done; };
  while (!finished())
    if (!do_piece(0)) rest(patience_, [&] { return offered(0) || finished(); });
}

// Offers the pieces of a section, or of the next one that has any; after the last one the run is over.
void ThreadPool::open(size_t section) {
  while (section < n_sections_ && sections_[section].items == 0) section++;
  if (section == n_sections_) {
    runs_done_.fetch_add(1, std::memory_order_seq_cst);
  } else {
    const Section& s = sections_[section];
    section_ = section;
    n_heads_ = s.head > 0 && s.head * n_threads_ <= s.items ? n_threads_ : 0;
    const size_t n_pieces = n_heads_ + (s.items - n_heads_ * s.head + s.grain - 1) / s.grain;
    n_pieces_ = n_pieces;
    unfinished_.store(n_pieces, std::memory_order_relaxed);
    // From here on others may do all of it, and more: nothing above is ours to read any longer.
    offer_.store(n_threads_ << 32 | n_pieces, std::memory_order_seq_cst);
    // Who opened it takes the first piece itself; nobody needs to be woken for a section of one.
    if (n_pieces == 1) return;
  }
  wake_sleepers();
}

bool ThreadPool::offered(int thread) const {
  const uint64_t offer = offer_.load(std::memory_order_seq_cst);
  return static_cast<uint32_t>(offer) != 0 && static_cast<uint64_t>(thread) < offer >> 32;
}

// Takes a piece and does it; false if there is none for this thread. Who does the last piece of a section opens the next one.
bool ThreadPool::do_piece(int thread) {
  uint64_t offer = offer_.load(std::memory_order_acquire);
  do {
    if (static_cast<uint32_t>(offer) == 0 || static_cast<uint64_t>(thread) >= offer >> 32) return false;
  } while (!offer_.compare_exchange_weak(offer, offer - 1, std::memory_order_acq_rel, std::memory_order_acquire));
  const Section& s = sections_[section_];
  const size_t piece = n_pieces_ - static_cast<uint32_t>(offer);
  if (piece < n_heads_) {
    body_(context_, section_, piece * s.head, (piece + 1) * s.head, thread);
  } else {
    const size_t begin = n_heads_ * s.head + (piece - n_heads_) * s.grain;
    body_(context_, section_, begin, std::min(begin + s.grain, s.items), thread);
  }
  if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) open(section_ + 1);
  return true;
}

void ThreadPool::wake_sleepers() {
  // Sequentially consistent with rest(): either we see the sleeper, or it sees what we have just stored.
  if (sleepers_.load(std::memory_order_seq_cst) == 0) return;
  bell_.fetch_add(1, std::memory_order_seq_cst);
  bell_.notify_all();
}

// Spins, then sleeps until `ready`. A spin that succeeds lets the next one last a little longer, one that fails lets it last half as
// long: with fewer cores than threads, or a busy neighbour, spins that are in vain are soon as short as can be.
template <class Ready>
void ThreadPool::rest(Patience& patience, Ready ready) {
  for (uint32_t turn = 0; turn < patience.turns; turn++) {
    if (ready()) {
      patience.turns = std::min(longest_, patience.turns + longest_ / 16 + 1);
      return;
    }
    pause();
  }
  patience.turns = std::max(shortest_, patience.turns / 2);
  sleepers_.fetch_add(1, std::memory_order_seq_cst);
  for (uint32_t seen = bell_.load(std::memory_order_seq_cst); !ready(); seen = bell_.load(std::memory_order_seq_cst))
    bell_.wait(seen, std::memory_order_seq_cst);
  sleepers_.fetch_sub(1, std::memory_order_relaxed);
}

void ThreadPool::work(void* argument) {
  Worker& self = *static_cast<Worker*>(argument);
  ThreadPool& pool = *self.pool;
  set_float_environment();
  while (!pool.stop_.load(std::memory_order_seq_cst)) {
    if (const uint32_t limit = pool.limit_.load(std::memory_order_seq_cst); static_cast<uint32_t>(self.number) >= limit) {
      pool.limit_.wait(limit, std::memory_order_seq_cst);
      continue;
    }
    if (pool.do_piece(self.number)) continue;
    pool.rest(self.patience, [&] {
      return pool.offered(self.number) || pool.stop_.load(std::memory_order_seq_cst) ||
             static_cast<uint32_t>(self.number) >= pool.limit_.load(std::memory_order_seq_cst);
    });
  }
}

}  // namespace infernode
