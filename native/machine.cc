// Counts what the process may use: Linux tells by text files and a mask of CPUs, other systems by one number.
#include "machine.h"

#include <algorithm>
#include <charconv>
#include <climits>
#include <cmath>
#include <cstdio>
#include <cstdint>
#include <set>
#include <string_view>

#include "threading.h"

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(_WIN32)
#include <windows.h>
#else
#include <unistd.h>
#endif

namespace infernode {

namespace {

std::string_view first_word(std::string_view& text) {
  const size_t begin = std::min(text.find_first_not_of(" \t\n"), text.size());
  const size_t end = std::min(text.find_first_of(" \t\n", begin), text.size());
  const std::string_view word = text.substr(begin, end - begin);
  text.remove_prefix(end);
  return word;
}

std::string_view first_line(std::string_view& text) {
  const size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

// Nothing for anything but a whole number above 0: "max", "-1", an empty or damaged file.
std::optional<double> positive(std::string_view word) {
  int64_t value = 0;
  const auto [end, problem] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (problem != std::errc() || end != word.data() + word.size() || value <= 0) return {};
  return static_cast<double>(value);
}

bool lists(std::string_view comma_separated, std::string_view name) {
  while (!comma_separated.empty()) {
    const size_t end = std::min(comma_separated.find(','), comma_separated.size());
    if (comma_separated.substr(0, end) == name) return true;
    comma_separated.remove_prefix(std::min(end + 1, comma_separated.size()));
  }
  return false;
}

// mountinfo writes spaces, tabs, newlines and backslashes in paths as \ooo.
std::string unescape(std::string_view text) {
  std::string path;
  for (size_t i = 0; i < text.size(); i++) {
    const auto octal = [&](size_t at) { return at < text.size() && text[at] >= '0' && text[at] <= '7'; };
    if (text[i] == '\\' && octal(i + 1) && octal(i + 2) && octal(i + 3)) {
      path += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      path += text[i];
    }
  }
  return path;
}

// Where a cgroup hierarchy can be read: the group `root` and those below it appear at `point`. proc(5), mountinfo.
struct Mount {
  std::string root, point;
  bool v2;
};

std::vector<Mount> cpu_mounts(std::string_view mountinfo) {
  std::vector<Mount> mounts;
  while (!mountinfo.empty()) {
    std::string_view line = first_line(mountinfo);
    for (int i = 0; i < 3; i++) first_word(line);
    const std::string_view root = first_word(line), point = first_word(line);
    std::string_view word = first_word(line);
    while (!word.empty() && word != "-") word = first_word(line);
    const std::string_view type = first_word(line);
    first_word(line);
    if (type == "cgroup2") mounts.push_back({unescape(root), unescape(point), true});
    else if (type == "cgroup" && lists(first_word(line), "cpu")) mounts.push_back({unescape(root), unescape(point), false});
  }
  return mounts;
}

// The group that this process is in, of the unified hierarchy or of v1's "cpu": lines of "number:controllers:path".
std::optional<std::string> own_group(std::string_view cgroup, bool v2) {
  while (!cgroup.empty()) {
    const std::string_view line = first_line(cgroup);
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string_view::npos || second == std::string_view::npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    if (v2 ? controllers.empty() : lists(controllers, "cpu")) return std::string(line.substr(second + 1));
  }
  return {};
}

// Cores' worth of time that one group grants, or nothing.
std::optional<double> quota_at(const MachineSource& source, const std::string& folder, bool v2) {
  std::optional<double> quota, period;
  if (v2) {
    const std::string text = source.read(folder + "/cpu.max").value_or("");
    std::string_view rest = text;
    quota = positive(first_word(rest));
    period = positive(first_word(rest));
  } else {
    const std::string quota_text = source.read(folder + "/cpu.cfs_quota_us").value_or("");
    const std::string period_text = source.read(folder + "/cpu.cfs_period_us").value_or("");
    std::string_view quota_rest = quota_text, period_rest = period_text;
    quota = positive(first_word(quota_rest));
    period = positive(first_word(period_rest));
  }
  if (!quota || !period) return {};
  return *quota / *period;
}

// The least that our group and its ancestors grant, as far up as they are mounted here.
std::optional<double> quota_of(const MachineSource& source) {
  const std::string cgroup = source.read("/proc/self/cgroup").value_or("");
  std::optional<double> least;
  for (const Mount& mount : cpu_mounts(source.read("/proc/self/mountinfo").value_or(""))) {
    const std::optional<std::string> group = own_group(cgroup, mount.v2);
    if (!group) continue;
    // The path is seen from the root of our cgroup namespace; a container without one of its own sees the host's path, of which
    // `root` is the part that its mount hides. A group outside the mount ("/..") is judged by the mount's own root.
    std::string below = *group;
    if (mount.root != "/") {
      if (below.compare(0, mount.root.size(), mount.root) == 0 && (below.size() == mount.root.size() || below[mount.root.size()] == '/'))
        below.erase(0, mount.root.size());
      else below.clear();
    }
    if (below.find("/..") != std::string::npos) below.clear();
    while (!below.empty() && below.back() == '/') below.pop_back();
    for (;;) {
      if (const auto quota = quota_at(source, mount.point + below, mount.v2)) least = std::min(*quota, least.value_or(*quota));
      if (below.empty()) break;
      const size_t slash = below.rfind('/');
      below.erase(slash == std::string::npos ? 0 : slash);
    }
  }
  return least;
}

// CPUs of one core name the same siblings. A CPU that does not say counts as a core.
int physical_cores(const MachineSource& source) {
  std::set<std::string> cores;
  for (int cpu : source.cpus) {
    const std::string topology = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    auto siblings = source.read(topology + "core_cpus_list");
    if (!siblings || siblings->empty()) siblings = source.read(topology + "thread_siblings_list");
    cores.insert(siblings && !siblings->empty() ? *siblings : "cpu" + std::to_string(cpu));
  }
  return static_cast<int>(cores.size());
}

std::string counted(int n, const char* what) { return std::to_string(n) + " " + what + (n == 1 ? "" : "s"); }

// Files of /proc and /sys have no size: read until they end.
std::optional<std::string> read_text(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (!file) return {};
  std::string text;
  char buffer[4096];
  constexpr size_t kMost = size_t{4} << 20;
  for (size_t n; text.size() < kMost && (n = std::fread(buffer, 1, sizeof buffer, file)) > 0;) text.append(buffer, n);
  std::fclose(file);
  return text;
}

#if defined(__linux__)
std::vector<int> affinity() {
  for (int n = 1024; n <= 1 << 20; n *= 2) {  // the kernel refuses a mask that is too short for it
    cpu_set_t* mask = CPU_ALLOC(n);
    if (!mask) return {};
    const size_t bytes = CPU_ALLOC_SIZE(n);
    std::vector<int> cpus;
    const bool fits = sched_getaffinity(0, bytes, mask) == 0;
    for (int cpu = 0; fits && cpu < n; cpu++)
      if (CPU_ISSET_S(cpu, bytes, mask)) cpus.push_back(cpu);
    CPU_FREE(mask);
    if (fits) return cpus;
  }
  return {};
}
#else
std::vector<int> affinity() { return {}; }
#endif

}  // namespace

MachineSource MachineSource::of_this_machine() {
  return {read_text, affinity(), static_cast<int>(std::max(1u, hardware_concurrency()))};
}

ThreadCount choose_threads(int requested) {
  return requested > 0 ? choose_threads(requested, {}) : choose_threads(0, MachineSource::of_this_machine());
}

ThreadCount choose_threads(int requested, const MachineSource& source) {
  if (requested > 0) return {requested, "as asked for"};
  ThreadCount count;
  if (source.cpus.empty()) {
    count = {std::max(1, source.concurrency), counted(source.concurrency, "CPU")};
  } else {
    const int cpus = static_cast<int>(source.cpus.size()), cores = physical_cores(source);
    count = {cores, counted(cores, "physical core") + (cores < cpus ? " of " + counted(cpus, "CPU") : "")};
  }
  if (const auto quota = quota_of(source); quota && std::floor(*quota) < count.threads) {
    char text[64];
    std::snprintf(text, sizeof text, "a CPU quota of %.4g cores", *quota);
    count = {std::max(1, static_cast<int>(std::floor(*quota))), text};
  }
  return count;
}

size_t page_size() {
#if defined(_WIN32)
  SYSTEM_INFO info;
  GetSystemInfo(&info);
  return info.dwPageSize;
#else
  const long bytes = sysconf(_SC_PAGESIZE);
  return bytes > 0 ? static_cast<size_t>(bytes) : 4096;
#endif
}

size_t physical_memory() {
#if defined(_WIN32)
  MEMORYSTATUSEX status{};
  status.dwLength = sizeof status;
  return GlobalMemoryStatusEx(&status) ? static_cast<size_t>(status.ullTotalPhys) : SIZE_MAX;
#elif defined(_SC_PHYS_PAGES)
  const long pages = sysconf(_SC_PHYS_PAGES);
  return pages > 0 ? static_cast<size_t>(pages) * page_size() : SIZE_MAX;
#else
  return SIZE_MAX;
#endif
}

}  // namespace infernode
