// What this process may use of the machine: how many threads are worth having, and how large a page of memory is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace infernode {

struct ThreadCount {
  int threads;
  std::string reason;  // for people: "2 physical cores of 4 CPUs", "the CPU quota of 1.5 cores"
};

// Where the answers come from, so that tests can replay recorded machines.
struct MachineSource {
  std::function<std::optional<std::string>(const std::string& path)> read;  // a small text file, or nothing
  std::vector<int> cpus;  // those that this process may run on; empty: unknown
  int concurrency = 1;    // what counts where neither is known

  static MachineSource of_this_machine();
};

// requested > 0: that many. Otherwise the least of the affinity mask (which holds cpusets), the cgroup's CPU quota rounded
// down (v1 or v2, with all ancestors that can be seen) and the physical cores behind the mask (two threads on one core share
// the units that the kernels keep busy), and at least 1.
ThreadCount choose_threads(int requested);
ThreadCount choose_threads(int requested, const MachineSource& source);

// Bytes of a page of memory, as mmap counts.
size_t page_size();
// Bytes of memory that the machine has; SIZE_MAX where it does not say.
size_t physical_memory();

}  // namespace infernode
