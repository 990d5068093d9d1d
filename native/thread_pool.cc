// The compute threads and their barrier. Everything here is about waiting: cheaply when all threads have a core of their own,
// and without stealing the core of the very thread that is waited for when they have not.
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

// The imbalance between threads at the end of an op is far below this where each has a core; a sleep and a wake-up cost about
// as much. Longer waits mean that a thread lost its core, or that an op has work for few threads.
constexpr double kLongestSpinMicroseconds = 40;
constexpr double kShortestSpinMicroseconds = 0.5;

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

Barrier::Barrier(int max_threads) {
  const double turns = measure_turns();
  longest_ = static_cast<uint32_t>(turns * kLongestSpinMicroseconds);
  shortest_ = std::max<uint32_t>(1, static_cast<uint32_t>(turns * kShortestSpinMicroseconds));
  patience_.assign(static_cast<size_t>(max_threads), {longest_});
}

// Nobody else is in the barrier: the last run ended with a meeting of its threads, after which they only read `phase_`.
void Barrier::start(int n_threads) {
  n_threads_ = static_cast<uint32_t>(n_threads);
  claimed_.store(0, std::memory_order_relaxed);
}

void Barrier::wait(int thread) {
  const uint32_t n = n_threads_;  // before arriving: afterwards a next run may set it
  if (n == 1) {
    claimed_.store(0, std::memory_order_relaxed);
    return;
  }
  const uint32_t phase = phase_.load(std::memory_order_relaxed);  // cannot change before we have arrived
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == n) {
    arrived_.store(0, std::memory_order_relaxed);
    claimed_.store(0, std::memory_order_relaxed);
    // Sequentially consistent, as in await(): either we see the sleeper, or it sees the new phase.
    phase_.store(phase + 1, std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) > 0) phase_.notify_all();
    return;
  }
  await(phase_, phase, sleepers_, patience_[static_cast<size_t>(thread)]);
}

// A spin that succeeds lets the next one last a little longer, one that fails lets it last half as long: with fewer cores than
// threads, or a busy neighbour, most waits soon go to sleep almost at once.
void Barrier::await(const std::atomic<uint32_t>& word, uint32_t old, std::atomic<uint32_t>& sleepers, Patience& patience) {
  for (uint32_t turn = 0; turn < patience.turns; turn++) {
    if (word.load(std::memory_order_acquire) != old) {
      patience.turns = std::min(longest_, patience.turns + longest_ / 16 + 1);
      return;
    }
    pause();
  }
  patience.turns = std::max(shortest_, patience.turns / 2);
  sleepers.fetch_add(1, std::memory_order_seq_cst);
  while (word.load(std::memory_order_seq_cst) == old) word.wait(old, std::memory_order_seq_cst);
  sleepers.fetch_sub(1, std::memory_order_relaxed);
}

Result<std::unique_ptr<ThreadPool>> ThreadPool::make(int threads) {
  if (threads < 1 || threads > 1024)
    return error(ErrorCode::kInvalidArgument, {"threads", "1 to 1024", std::to_string(threads)});
  std::unique_ptr<ThreadPool> pool(new ThreadPool(threads));
  for (int number = 1; number < threads; number++) {
    auto worker = std::make_unique<Worker>();
    worker->pool = pool.get();
    worker->number = number;
    worker->patience = {pool->barrier_.longest_};
    if (!worker->thread.start(&ThreadPool::work, worker.get(), "infernode"))
      return error(ErrorCode::kOutOfMemory, {"compute thread " + std::to_string(number + 1) + " (the system grants no more)", "The"});
    pool->workers_.push_back(std::move(worker));
  }
  return pool;
}

ThreadPool::~ThreadPool() {
  body_ = nullptr;
  for (auto& worker : workers_) {
    worker->runs.fetch_add(1, std::memory_order_seq_cst);
    worker->runs.notify_one();
    worker->thread.join();
  }
}

void ThreadPool::run(int n_threads, Body body, void* context) {
  n_threads = std::clamp(n_threads, 1, size());
  barrier_.start(n_threads);
  if (n_threads == 1) return body(context, 0, barrier_);
  body_ = body;
  context_ = context;
  for (int number = 1; number < n_threads; number++) {
    Worker& worker = *workers_[static_cast<size_t>(number) - 1];
    worker.runs.fetch_add(1, std::memory_order_seq_cst);
    if (worker.asleep.load(std::memory_order_seq_cst) > 0) worker.runs.notify_one();
  }
  body(context, 0, barrier_);
  barrier_.wait(0);
}

// Between two runs a worker spins as briefly as between two ops, and then sleeps: a decoded token comes as several runs.
void ThreadPool::work(void* argument) {
  Worker& self = *static_cast<Worker*>(argument);
  Barrier& barrier = self.pool->barrier_;
  set_float_environment();
  for (uint32_t seen = 0;; seen++) {
    barrier.await(self.runs, seen, self.asleep, self.patience);
    const Body body = self.pool->body_;
    if (!body) return;
    body(self.pool->context_, self.number, barrier);
    barrier.wait(self.number);
  }
}

}  // namespace infernode
