// How many threads are worth having, on recorded machines.
#include "machine.h"

#include <doctest/doctest.h>

#include <map>

using infernode::choose_threads;
using infernode::MachineSource;

namespace {

using Files = std::map<std::string, std::string>;

std::vector<int> cpus(int n) {
  std::vector<int> list;
  for (int i = 0; i < n; i++) list.push_back(i);
  return list;
}

MachineSource machine(Files files, std::vector<int> allowed, int concurrency = 1) {
  return {[files = std::move(files)](const std::string& path) -> std::optional<std::string> {
            const auto found = files.find(path);
            return found == files.end() ? std::nullopt : std::optional(found->second);
          },
          std::move(allowed), concurrency};
}

int threads_of(const Files& files, int n_cpus) { return choose_threads(0, machine(files, cpus(n_cpus))).threads; }

const std::string kV2Mount = "29 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

}  // namespace

TEST_CASE("a number asked for is taken as it is") {
  CHECK(choose_threads(7).threads == 7);
  CHECK(choose_threads(1, machine({}, cpus(8))).threads == 1);
}

TEST_CASE("without cgroups and topology, every CPU of the mask counts") {
  CHECK(threads_of({}, 6) == 6);
  CHECK(choose_threads(0, machine({}, cpus(6))).reason == "6 physical cores");
}

TEST_CASE("without a mask, as on other systems, the number of CPUs counts") {
  CHECK(choose_threads(0, machine({}, {}, 10)).threads == 10);
  CHECK(choose_threads(0, machine({}, {}, 0)).threads == 1);
}

TEST_CASE("two threads of one core count once") {
  Files files;
  for (int cpu = 0; cpu < 8; cpu++)
    files["/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list"] =
        std::to_string(cpu % 4) + "," + std::to_string(cpu % 4 + 4) + "\n";
  const auto count = choose_threads(0, machine(files, cpus(8)));
  CHECK(count.threads == 4);
  CHECK(count.reason == "4 physical cores of 8 CPUs");
  // A cpuset of three CPUs on two cores.
  CHECK(choose_threads(0, machine(files, {1, 5, 6})).threads == 2);
}

TEST_CASE("the newer name of the siblings' file is read too") {
  Files files;
  for (int cpu = 0; cpu < 4; cpu++)
    files["/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/core_cpus_list"] = cpu < 2 ? "0-1\n" : "2-3\n";
  CHECK(threads_of(files, 4) == 2);
}

TEST_CASE("a container's quota is found at its own root") {
  const Files files{{"/proc/self/cgroup", "0::/\n"}, {"/proc/self/mountinfo", kV2Mount}, {"/sys/fs/cgroup/cpu.max", "250000 100000\n"}};
  const auto count = choose_threads(0, machine(files, cpus(8)));
  CHECK(count.threads == 2);
  CHECK(count.reason == "a CPU quota of 2.5 cores");
}

TEST_CASE("a quota below one core still gives one thread") {
  CHECK(threads_of({{"/proc/self/cgroup", "0::/\n"}, {"/proc/self/mountinfo", kV2Mount}, {"/sys/fs/cgroup/cpu.max", "50000 100000\n"}}, 8) == 1);
}

TEST_CASE("a quota above the number of cores changes nothing") {
  CHECK(threads_of({{"/proc/self/cgroup", "0::/\n"}, {"/proc/self/mountinfo", kV2Mount}, {"/sys/fs/cgroup/cpu.max", "1600000 100000\n"}}, 8) == 8);
}

TEST_CASE("an ancestor's tighter quota counts") {
  Files files{{"/proc/self/cgroup", "0::/user.slice/user-1000.slice/job.scope\n"},
              {"/proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + kV2Mount},
              {"/sys/fs/cgroup/user.slice/user-1000.slice/job.scope/cpu.max", "max 100000\n"},
              {"/sys/fs/cgroup/user.slice/user-1000.slice/cpu.max", "300000 100000\n"},
              {"/sys/fs/cgroup/user.slice/cpu.max", "700000 100000\n"}};
  CHECK(threads_of(files, 16) == 3);
  files["/sys/fs/cgroup/user.slice/user-1000.slice/job.scope/cpu.max"] = "100000 50000\n";
  CHECK(threads_of(files, 16) == 2);
}

TEST_CASE("version 1 quotas are read below the part of the path that the mount hides") {
  const Files files{
      {"/proc/self/cgroup", "11:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n0::/system.slice/docker.service\n"},
      {"/proc/self/mountinfo",
       "40 35 0:30 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro,nosuid master:15 - cgroup cgroup rw,cpu,cpuacct\n"
       "41 35 0:31 /docker/abc /sys/fs/cgroup/cpuset ro master:16 - cgroup cgroup rw,cpuset\n"},
      {"/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "400000\n"},
      {"/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"},
      {"/sys/fs/cgroup/cpuset/cpu.cfs_quota_us", "100000\n"},
      {"/sys/fs/cgroup/cpuset/cpu.cfs_period_us", "100000\n"}};
  CHECK(threads_of(files, 16) == 4);
}

TEST_CASE("version 1 without a limit, -1, leaves all cores") {
  CHECK(threads_of({{"/proc/self/cgroup", "4:cpu,cpuacct:/\n"},
                    {"/proc/self/mountinfo", "40 35 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"},
                    {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"},
                    {"/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"}}, 5) == 5);
}

TEST_CASE("a group outside its namespace is judged by the root of the mount") {
  CHECK(threads_of({{"/proc/self/cgroup", "0::/../../other\n"}, {"/proc/self/mountinfo", kV2Mount}, {"/sys/fs/cgroup/cpu.max", "100000 100000\n"}}, 4) == 1);
}

TEST_CASE("mount points with spaces are understood") {
  CHECK(threads_of({{"/proc/self/cgroup", "0::/a\n"},
                    {"/proc/self/mountinfo", "29 23 0:26 / /my\\040groups rw - cgroup2 none rw\n"},
                    {"/my groups/a/cpu.max", "200000 100000\n"}}, 4) == 2);
}

TEST_CASE("damaged files change nothing") {
  for (const std::string bad : {"", "\n", "max", "100000", "100000 0\n", "0 100000", "-5 100000", "abc def", "1e5 100000", "99999999999999999999 1",
                                "100000 100000x"})
    CHECK(threads_of({{"/proc/self/cgroup", "0::/\n"}, {"/proc/self/mountinfo", kV2Mount}, {"/sys/fs/cgroup/cpu.max", bad}}, 4) == 4);
  for (const std::string& bad : std::vector<std::string>{"", ":", "::", "0:", "0::", "\n\n\n", "garbage", std::string(100000, ':'), "0::/" + std::string(5000, '/')})
    CHECK(threads_of({{"/proc/self/cgroup", bad}, {"/proc/self/mountinfo", kV2Mount}}, 4) == 4);
  for (const std::string bad : {"", "29", "29 23 0:26 / /sys/fs/cgroup", "29 23 0:26 / /sys/fs/cgroup rw -", "a - cgroup2", "\\04 \\9 - - - -\n - cgroup2"})
    CHECK(threads_of({{"/proc/self/cgroup", "0::/\n"}, {"/proc/self/mountinfo", bad}}, 4) == 4);
}

TEST_CASE("this machine gives at least one thread, and a page size that is a power of two") {
  const auto count = choose_threads(0);
  CHECK(count.threads >= 1);
  CHECK(!count.reason.empty());
  MESSAGE("this machine: " << count.threads << " threads, " << count.reason);
  const size_t page = infernode::page_size();
  CHECK(page >= 4096);
  CHECK((page & (page - 1)) == 0);
}
