// What it costs to share out a section of work among threads: `barrier_bench [threads]` prints microseconds per section for
// sections of several lengths, beside what they would take if their work were shared out at no cost.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "machine.h"
#include "thread_pool.h"

using namespace infernode;

namespace {

using Clock = std::chrono::steady_clock;
constexpr size_t kSections = 2000;

double microseconds_since(Clock::time_point begin) { return std::chrono::duration<double, std::micro>(Clock::now() - begin).count(); }

// Work that no cache and no memory can slow down: a chain of additions that the compiler has to keep.
struct Work {
  uint64_t turns;
  static void run(void* context, size_t, size_t begin, size_t end, int) {
    for (size_t i = begin; i < end; i++)
      for (uint64_t turn = static_cast<Work*>(context)->turns; turn > 0; turn--) __asm__ volatile("" : "+r"(turn));
  }
};

// The median of a few runs, per section.
double measure(ThreadPool& pool, int threads, size_t items, Work work) {
  const std::vector<ThreadPool::Section> sections(kSections, {items, 1});
  std::vector<double> times;
  for (int i = 0; i < 9; i++) {
    const auto begin = Clock::now();
    pool.run(threads, sections.data(), sections.size(), &Work::run, &work);
    times.push_back(microseconds_since(begin) / kSections);
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  const int most = argc > 1 ? std::atoi(argv[1]) : choose_threads(0).threads;
  auto pool = ThreadPool::make(most);
  if (!pool) return 1;
  const uint64_t probe = 1 << 20;
  const double turns_per_microsecond = static_cast<double>(probe) / (measure(**pool, 1, 1, {probe / 64}) * 64);
  std::printf("threads  pieces  work/piece   per section   work alone   lost\n");
  for (int threads = 1; threads <= most; threads++)
    for (const size_t pieces_of_each : {size_t{1}, size_t{8}})
      for (const double microseconds : {0.0, 0.5, 2.0, 10.0}) {
        const Work work{static_cast<uint64_t>(microseconds * turns_per_microsecond)};
        const size_t items = pieces_of_each * static_cast<size_t>(threads);
        const double alone = measure(**pool, 1, pieces_of_each, work), shared = measure(**pool, threads, items, work);
        std::printf("%7d %7zu %8.1f µs %10.2f µs %9.2f µs %5.2f µs\n", threads, items, microseconds, shared, alone, shared - alone);
      }
}
