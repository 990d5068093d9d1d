// Reserves memory with mmap or VirtualAlloc.
#include "pages.h"

#include <string>

#ifdef _WIN32
#include <windows.h>
#else
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace infernode {

Pages::~Pages() {
  if (!data_) return;
#ifdef _WIN32
  VirtualFree(data_, 0, MEM_RELEASE);
#else
  ::munmap(data_, size_);
#endif
}

Result<Pages> Pages::make(size_t bytes, const char* purpose, [[maybe_unused]] bool large) {
  Pages pages;
  if (bytes == 0) return pages;
#ifdef _WIN32
  void* data = VirtualAlloc(nullptr, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
  if (!data) return error(ErrorCode::kOutOfMemory, {purpose, std::to_string(bytes)});
#else
#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif
  void* data = bytes > (size_t{1} << 46)
                   ? MAP_FAILED
                   : ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) return error(ErrorCode::kOutOfMemory, {purpose, std::to_string(bytes)});
#ifdef MADV_HUGEPAGE
  constexpr size_t kLeastLarge = size_t{4} << 20;
  if (large && bytes >= kLeastLarge) ::madvise(data, bytes, MADV_HUGEPAGE);  // a hint: refusing it is no error
#endif
#endif
  pages.data_ = static_cast<std::byte*>(data);
  pages.size_ = bytes;
  return pages;
}

void Pages::release(size_t offset, size_t bytes) {
#ifndef _WIN32
  const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t begin = (offset + page - 1) / page * page, end = (offset + bytes) / page * page;
  if (begin < end && end <= size_) ::madvise(data_ + begin, end - begin, MADV_DONTNEED);
#else
  (void)offset;
  (void)bytes;
#endif
}

}  // namespace infernode
