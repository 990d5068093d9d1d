// Mapped files: page faults that were taken ahead are not taken again.
#include "mapping.h"

#include <doctest/doctest.h>

#ifdef __linux__

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <string>

using namespace infernode;

namespace {

constexpr size_t kBytes = (size_t{8} << 20) + 100;

// A file that is in memory, as it was just written; gone at the end.
struct WrittenFile {
  std::string path = std::filesystem::temp_directory_path() / "infernode-mapping-XXXXXX";
  int fd = ::mkstemp(path.data());
  WrittenFile() {
    REQUIRE(fd >= 0);
    const std::string bytes(kBytes, 'x');
    REQUIRE(::write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  }
  ~WrittenFile() {
    ::close(fd);
    ::unlink(path.c_str());
  }
};

// Sanitizers would meet page faults of their own beside each page.
[[gnu::no_sanitize("address"), gnu::no_sanitize("thread")]] size_t sum_of_pages(const volatile std::byte* data, size_t bytes) {
  size_t sum = 0;
  for (size_t at = 0; at < bytes; at += 4096) sum += static_cast<size_t>(data[at]);
  return sum;
}

long faults_of_reading(const Mapping& mapping) {
  rusage before, after;
  ::getrusage(RUSAGE_THREAD, &before);
  const size_t sum = sum_of_pages(mapping.data(), mapping.size());
  ::getrusage(RUSAGE_THREAD, &after);
  REQUIRE(sum == (mapping.size() + 4095) / 4096 * 'x');
  return after.ru_minflt - before.ru_minflt;
}

}  // namespace

TEST_CASE("what was entered into the page table is read without a page fault, at any alignment") {
  WrittenFile file;
  MappingRegistry registry;
  auto mapping = registry.open(file.path, kBytes, true);
  REQUIRE(mapping);
  const std::byte* data = (*mapping)->data();
  // In three parts that begin and end within pages.
  enter_page_table(data, 5000);
  enter_page_table(data + 5000, kBytes - 5050);
  enter_page_table(data + kBytes - 50, 50);
  const long faults = faults_of_reading(**mapping);
#ifdef __x86_64__  // other CPUs are tested under an emulator, whose page faults are its own
  CHECK(faults < 4);
#else
  MESSAGE(faults, " page faults");
#endif
}

TEST_CASE("a range of no bytes is nothing to enter, and a file that was cut short is known before any is read") {
  WrittenFile file;
  MappingRegistry registry;
  auto mapping = registry.open(file.path, kBytes, true);
  REQUIRE(mapping);
  enter_page_table((*mapping)->data() + kBytes, 0);
  CHECK((*mapping)->unchanged());
  REQUIRE(::ftruncate(file.fd, 4096) == 0);
  const Status status = (*mapping)->unchanged();
  REQUIRE(!status);
  CHECK(status.error().code == ErrorCode::kFileChanged);
}

#endif
