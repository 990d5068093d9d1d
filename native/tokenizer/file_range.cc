// Plain stdio with 64-bit offsets: vocabularies are read once, so mapping them would gain nothing.
#include "tokenizer/file_range.h"

#include <cerrno>
#include <cstdio>
#include <memory>

namespace infernode {
namespace {

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, Close>;

Error unreadable(const std::string& path, int reason) {
  return error(ErrorCode::kFileUnreadable, {path, std::strerror(reason)});
}

bool seek(std::FILE* file, int64_t offset, int whence) {
#ifdef _WIN32
  return _fseeki64(file, offset, whence) == 0;
#else
  return fseeko(file, static_cast<off_t>(offset), whence) == 0;
#endif
}

int64_t tell(std::FILE* file) {
#ifdef _WIN32
  return _ftelli64(file);
#else
  return ftello(file);
#endif
}

// The size is asked for first, so that a hostile length cannot make us allocate more than the file has.
Result<uint64_t> size_of(std::FILE* file, const std::string& path) {
  if (!seek(file, 0, SEEK_END)) return unreadable(path, errno);
  const int64_t size = tell(file);
  if (size < 0) return unreadable(path, errno);
  return static_cast<uint64_t>(size);
}

Result<Array<char>> read(std::FILE* file, const std::string& path, uint64_t offset, uint64_t bytes) {
  if (!seek(file, static_cast<int64_t>(offset), SEEK_SET)) return unreadable(path, errno);
  INFERNODE_ASSIGN(text, Array<char>::make(bytes, "the tokenizer"));
  if (std::fread(text.data(), 1, bytes, file) != bytes) return unreadable(path, errno ? errno : EIO);
  return std::move(text);
}

}  // namespace

Result<Array<char>> read_file_range(const std::string& path, uint64_t offset, uint64_t bytes, const char* field) {
  const File file(std::fopen(path.c_str(), "rb"));
  if (!file) return unreadable(path, errno);
  INFERNODE_ASSIGN(size, size_of(file.get(), path));
  if (offset > size || bytes > size - offset)
    return error(ErrorCode::kFileCorrupt, {path, field, "ends past the end of the file"});
  return read(file.get(), path, offset, bytes);
}

Result<Array<char>> read_whole_file(const std::string& path, uint64_t limit) {
  const File file(std::fopen(path.c_str(), "rb"));
  if (!file) return unreadable(path, errno);
  INFERNODE_ASSIGN(size, size_of(file.get(), path));
  if (size > limit)
    return error(ErrorCode::kFormatUnsupported, {path, "the file", "larger than " + std::to_string(limit) + " bytes"});
  return read(file.get(), path, 0, size);
}

}  // namespace infernode
