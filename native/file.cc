// pread and pwrite, or ReadFile and WriteFile with an offset.
#include "file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#ifdef _WIN32
#include <windows.h>
#else
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace infernode {

namespace {

constexpr intptr_t kClosed = -1;
constexpr size_t kLargestTransfer = size_t{1} << 30;  // systems cut longer ones

#ifdef _WIN32
std::string last_reason() { return "error " + std::to_string(GetLastError()); }
#else
std::string last_reason() { return std::strerror(errno); }
#endif

}  // namespace

File::File(File&& other) noexcept : path_(std::move(other.path_)), handle_(std::exchange(other.handle_, kClosed)) {}

File& File::operator=(File&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(handle_, other.handle_);
  return *this;
}

#ifdef _WIN32

namespace {

HANDLE open_handle(const std::string& path, DWORD access) {
  const int length = MultiByteToWideChar(CP_UTF8, 0, path.c_str(), -1, nullptr, 0);
  std::wstring wide(static_cast<size_t>(length), L'\0');
  MultiByteToWideChar(CP_UTF8, 0, path.c_str(), -1, wide.data(), length);
  return CreateFileW(wide.c_str(), access, FILE_SHARE_READ | FILE_SHARE_WRITE, nullptr, OPEN_EXISTING, 0, nullptr);
}

OVERLAPPED at(uint64_t offset) {
  OVERLAPPED position{};
  position.Offset = static_cast<DWORD>(offset);
  position.OffsetHigh = static_cast<DWORD>(offset >> 32);
  return position;
}

}  // namespace

Result<File> File::open_to_read(const std::string& path) {
  const HANDLE handle = open_handle(path, GENERIC_READ);
  if (handle == INVALID_HANDLE_VALUE) return error(ErrorCode::kFileUnreadable, {path, last_reason()});
  return File(path, reinterpret_cast<intptr_t>(handle));
}

Result<File> File::open_to_write(const std::string& path) {
  const HANDLE handle = open_handle(path, GENERIC_WRITE);
  if (handle == INVALID_HANDLE_VALUE) return error(ErrorCode::kFileUnwritable, {path, last_reason()});
  return File(path, reinterpret_cast<intptr_t>(handle));
}

File::~File() {
  if (handle_ != kClosed) CloseHandle(reinterpret_cast<HANDLE>(handle_));
}

Result<uint64_t> File::size() const {
  LARGE_INTEGER size;
  if (!GetFileSizeEx(reinterpret_cast<HANDLE>(handle_), &size)) return error(ErrorCode::kFileUnreadable, {path_, last_reason()});
  return static_cast<uint64_t>(size.QuadPart);
}

Status File::read_at(uint64_t offset, std::byte* out, size_t bytes) const {
  for (size_t done = 0; done < bytes;) {
    OVERLAPPED position = at(offset + done);
    DWORD n = 0;
    const DWORD wanted = static_cast<DWORD>(std::min(bytes - done, kLargestTransfer));
    if (!ReadFile(reinterpret_cast<HANDLE>(handle_), out + done, wanted, &n, &position) && GetLastError() != ERROR_HANDLE_EOF)
      return error(ErrorCode::kFileUnreadable, {path_, last_reason()});
    if (n == 0) return error(ErrorCode::kFileChanged, {path_});
    done += n;
  }
  return {};
}

Status File::write_at(uint64_t offset, const std::byte* from, size_t bytes) const {
  for (size_t done = 0; done < bytes;) {
    OVERLAPPED position = at(offset + done);
    DWORD n = 0;
    const DWORD wanted = static_cast<DWORD>(std::min(bytes - done, kLargestTransfer));
    if (!WriteFile(reinterpret_cast<HANDLE>(handle_), from + done, wanted, &n, &position) || n == 0)
      return error(ErrorCode::kFileUnwritable, {path_, last_reason()});
    done += n;
  }
  return {};
}

#else

Result<File> File::open_to_read(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return error(ErrorCode::kFileUnreadable, {path, last_reason()});
  File file(path, fd);
  struct stat status;
  if (::fstat(fd, &status) != 0) return error(ErrorCode::kFileUnreadable, {path, last_reason()});
  if (!S_ISREG(status.st_mode)) return error(ErrorCode::kFileUnreadable, {path, "not a regular file"});
  return file;
}

Result<File> File::open_to_write(const std::string& path) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return error(ErrorCode::kFileUnwritable, {path, last_reason()});
  return File(path, fd);
}

File::~File() {
  if (handle_ != kClosed) ::close(static_cast<int>(handle_));
}

Result<uint64_t> File::size() const {
  struct stat status;
  if (::fstat(static_cast<int>(handle_), &status) != 0) return error(ErrorCode::kFileUnreadable, {path_, last_reason()});
  return static_cast<uint64_t>(status.st_size);
}

Status File::read_at(uint64_t offset, std::byte* out, size_t bytes) const {
  for (size_t done = 0; done < bytes;) {
    const ssize_t n = ::pread(static_cast<int>(handle_), out + done, std::min(bytes - done, kLargestTransfer),
                              static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return error(ErrorCode::kFileUnreadable, {path_, last_reason()});
    if (n == 0) return error(ErrorCode::kFileChanged, {path_});
    done += static_cast<size_t>(n);
  }
  return {};
}

Status File::write_at(uint64_t offset, const std::byte* from, size_t bytes) const {
  for (size_t done = 0; done < bytes;) {
    const ssize_t n = ::pwrite(static_cast<int>(handle_), from + done, std::min(bytes - done, kLargestTransfer),
                               static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return error(ErrorCode::kFileUnwritable, {path_, n < 0 ? last_reason() : "nothing was written"});
    done += static_cast<size_t>(n);
  }
  return {};
}

#endif

}  // namespace infernode
