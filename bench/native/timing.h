// How the native benches take time: one thread by its own clock, several by the wall's; medians.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <vector>

#include "threading.h"

namespace infernode::bench {

inline double seconds(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// One thread counts its own processor time, which others on the machine hardly touch; several count the time that passes.
template <class F>
double time_of(size_t n_threads, F&& part) {
  const clockid_t clock = n_threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
  struct Part {
    F& run;
    size_t index;
    StartedThread thread;
  };
  std::vector<Part> others;
  for (size_t i = 1; i < n_threads; i++) others.push_back({part, i, {}});
  const auto run_part = [](void* p) { static_cast<Part*>(p)->run(static_cast<Part*>(p)->index); };
  const double start = seconds(clock);
  for (Part& other : others)
    if (!other.thread.start(run_part, &other, "bench")) std::exit(1);
  part(size_t{0});
  for (Part& other : others) other.thread.join();
  return seconds(clock) - start;
}

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

}  // namespace infernode::bench
