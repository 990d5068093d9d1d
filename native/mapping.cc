// Maps or reads files. POSIX; Windows goes through CreateFileMapping.
#include "mapping.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#ifdef _WIN32
#include <windows.h>
#else
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace infernode {

namespace {

#ifndef _WIN32
// Closes a descriptor when it leaves the scope.
struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

Error unreadable(const std::string& path) {
  const int code = errno;
  return error(ErrorCode::kFileUnreadable, {path, std::strerror(code)});
}

timespec time_of_change(const struct stat& status) {
#ifdef __APPLE__
  return status.st_mtimespec;
#else
  return status.st_mtim;
#endif
}

Status read_all(int fd, const std::string& path, std::byte* out, size_t bytes) {
  size_t done = 0;
  while (done < bytes) {
    const ssize_t n = ::pread(fd, out + done, bytes - done < (size_t{1} << 30) ? bytes - done : size_t{1} << 30, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return unreadable(path);
    if (n == 0) return error(ErrorCode::kFileChanged, {path});
    done += static_cast<size_t>(n);
  }
  return {};
}
#endif

}  // namespace

#ifdef __linux__
void enter_page_table(const std::byte* data, size_t bytes) {
  static const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  // What a page fault enters at once, unless an administrator chose otherwise.
  constexpr size_t kFaultBytes = size_t{64} << 10;
  constexpr size_t kMostPages = 1024;
  unsigned char resident[kMostPages];
  const std::byte* end = data + bytes;
  for (const std::byte* next = data; next < end;) {
    const std::byte* first_page = next - reinterpret_cast<uintptr_t>(next) % page;
    const size_t n = std::min(kMostPages * page, static_cast<size_t>(end - first_page));
    if (::mincore(const_cast<std::byte*>(first_page), n, resident) != 0) return;
    // By page faults: MADV_POPULATE_READ takes a third longer, as it looks up every page again, and holds a lock that all threads share.
    for (; next < first_page + n; next += kFaultBytes - reinterpret_cast<uintptr_t>(next) % kFaultBytes)
      if (resident[static_cast<size_t>(next - first_page) / page] & 1) static_cast<void>(*static_cast<const volatile std::byte*>(next));
  }
}
#else
void enter_page_table(const std::byte*, size_t) {}
#endif

Mapping::~Mapping() {
#ifdef _WIN32
  if (mapped_ && data_) UnmapViewOfFile(data_);
#else
  if (mapped_ && data_) ::munmap(const_cast<std::byte*>(data_), size_);
  if (file_ >= 0) ::close(file_);
#endif
}

#ifdef _WIN32
Status Mapping::unchanged() const { return {}; }
#else
Status Mapping::unchanged() const {
  struct stat now;
  if (file_ < 0) return {};
  if (::fstat(file_, &now) != 0) return unreadable(path_);
  const auto changed = time_of_change(now);
  if (static_cast<size_t>(now.st_size) == size_ && changed.tv_sec == changed_seconds_ && changed.tv_nsec == changed_nanoseconds_) return {};
  return error(ErrorCode::kFileChanged, {path_});
}
#endif

#ifdef _WIN32
Result<std::shared_ptr<const Mapping>> MappingRegistry::open(const std::string& path, uint64_t expected_bytes, bool map) {
  // Sharing by identity is left to the page cache here: Windows shares the pages of a file's views by itself.
  const int wide = MultiByteToWideChar(CP_UTF8, 0, path.c_str(), -1, nullptr, 0);
  std::wstring name(static_cast<size_t>(wide), L'\0');
  MultiByteToWideChar(CP_UTF8, 0, path.c_str(), -1, name.data(), wide);
  HANDLE file = CreateFileW(name.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING, 0, nullptr);
  if (file == INVALID_HANDLE_VALUE) return error(ErrorCode::kFileUnreadable, {path, "error " + std::to_string(GetLastError())});
  LARGE_INTEGER size;
  GetFileSizeEx(file, &size);
  std::shared_ptr<Mapping> mapping(new Mapping);
  mapping->size_ = static_cast<size_t>(size.QuadPart);
  if (expected_bytes && mapping->size_ != expected_bytes) {
    CloseHandle(file);
    return error(ErrorCode::kFileChanged, {path});
  }
  if (map) {
    HANDLE section = CreateFileMappingW(file, nullptr, PAGE_READONLY, 0, 0, nullptr);
    if (section) {
      mapping->data_ = static_cast<const std::byte*>(MapViewOfFile(section, FILE_MAP_READ, 0, 0, 0));
      CloseHandle(section);
    }
    mapping->mapped_ = mapping->data_ != nullptr;
  }
  if (!mapping->data_) {
    auto bytes = Array<std::byte>::make(mapping->size_, "the checkpoint");
    if (!bytes) {
      CloseHandle(file);
      return bytes.error();
    }
    mapping->bytes_ = std::move(*bytes);
    for (size_t done = 0; done < mapping->size_;) {
      DWORD n = 0;
      const size_t left = mapping->size_ - done;
      if (!ReadFile(file, mapping->bytes_.data() + done, static_cast<DWORD>(left < (1u << 30) ? left : 1u << 30), &n, nullptr) || n == 0) {
        CloseHandle(file);
        return error(ErrorCode::kFileChanged, {path});
      }
      done += n;
    }
    mapping->data_ = mapping->bytes_.data();
  }
  CloseHandle(file);
  return std::shared_ptr<const Mapping>(mapping);
}
#else
Result<std::shared_ptr<const Mapping>> MappingRegistry::open(const std::string& path, uint64_t expected_bytes, bool map) {
  // Without O_NONBLOCK a pipe that took the file's place would block the thread for ever.
  Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) return unreadable(path);
  struct stat status;
  if (::fstat(file.fd, &status) != 0) return unreadable(path);
  if (!S_ISREG(status.st_mode)) return error(ErrorCode::kFileUnreadable, {path, "not a regular file"});
  const size_t size = static_cast<size_t>(status.st_size);
  if (expected_bytes && size != expected_bytes) return error(ErrorCode::kFileChanged, {path});
  if (size == 0) return error(ErrorCode::kFileUnreadable, {path, "the file is empty"});

  const timespec changed = time_of_change(status);
  const std::string key = std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino) + ":" + std::to_string(size) + ":" +
                          std::to_string(changed.tv_sec) + ":" + std::to_string(changed.tv_nsec) + (map ? ":mapped" : ":read");
  // Held while a file is read, so that two loads of one file do not read it twice.
  Lock lock(mutex_);
  for (auto i = open_.begin(); i != open_.end();) i = i->second.expired() ? open_.erase(i) : std::next(i);
  if (auto found = open_.find(key); found != open_.end())
    if (auto shared = found->second.lock()) return shared;

  std::shared_ptr<Mapping> mapping(new Mapping);
  mapping->size_ = size;
  if (map) {
    void* view = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.fd, 0);
    if (view == MAP_FAILED && errno == ENOMEM) return error(ErrorCode::kOutOfMemory, {"mapping " + path, std::to_string(size)});
    if (view == MAP_FAILED) return error(ErrorCode::kFileUnreadable, {path, std::string("mmap: ") + std::strerror(errno)});
#ifdef MADV_HUGEPAGE
    // What is not cached yet is then read, and mapped, 2 MB at a time where the file system can: a third less time for a cold file,
    // and hardly a page fault for whoever maps it next. A hint, whose refusal changes nothing.
    ::madvise(view, size, MADV_HUGEPAGE);
#endif
    mapping->data_ = static_cast<const std::byte*>(view);
    mapping->mapped_ = true;
    mapping->path_ = path;
    mapping->file_ = std::exchange(file.fd, -1);
    mapping->changed_seconds_ = changed.tv_sec;
    mapping->changed_nanoseconds_ = changed.tv_nsec;
  } else {
    INFERNODE_ASSIGN(bytes, Array<std::byte>::make(size, "the checkpoint"));
    INFERNODE_TRY(read_all(file.fd, path, bytes.data(), size));
    mapping->bytes_ = std::move(bytes);
    mapping->data_ = mapping->bytes_.data();
  }
  open_[key] = mapping;
  return std::shared_ptr<const Mapping>(mapping);
}
#endif

}  // namespace infernode
