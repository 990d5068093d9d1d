// A file that threads read or write at offsets, for tensors that pass through in pieces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "result.h"

namespace infernode {

// Moves, never copies. Reading and writing are safe from several threads at once.
class File {
 public:
  // FILE_UNREADABLE if it is not there, or no regular file.
  static Result<File> open_to_read(const std::string& path);
  // FILE_UNWRITABLE. The file exists already; what is not written stays.
  static Result<File> open_to_write(const std::string& path);
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File();

  const std::string& path() const { return path_; }
  Result<uint64_t> size() const;
  // All of [offset, offset + bytes), or an error: FILE_CHANGED if the file ends before.
  Status read_at(uint64_t offset, std::byte* out, size_t bytes) const;
  // Past the end the file grows.
  Status write_at(uint64_t offset, const std::byte* from, size_t bytes) const;

 private:
  File(std::string path, intptr_t handle) : path_(std::move(path)), handle_(handle) {}
  std::string path_;
  intptr_t handle_;  // a descriptor, or a HANDLE of Windows
};

}  // namespace infernode
