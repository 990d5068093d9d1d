// Files of a checkpoint in memory: mapped (shared by everyone who opens the same file) or read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <memory>
#include <string>

#include "array.h"
#include "result.h"
#include "threading.h"

namespace infernode {

// The bytes of a file, read-only. Alive as long as anybody holds it.
class Mapping {
 public:
  ~Mapping();
  Mapping(const Mapping&) = delete;
  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  bool mapped() const { return mapped_; }
  // kFileChanged if the mapped file was cut short or written to since: reading a page that is gone would end the process, and what
  // was written over is not what was loaded. One system call. A file that was read is ours, and one that was replaced by another of
  // its name stays as it was.
  Status unchanged() const;

 private:
  friend class MappingRegistry;
  Mapping() = default;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  bool mapped_ = false;
  Array<std::byte> bytes_;  // where the file was read instead
#ifndef _WIN32  // which lets nobody write to a mapped file
  std::string path_;
  int file_ = -1;  // of a mapped file, for unchanged()
  int64_t changed_seconds_ = 0, changed_nanoseconds_ = 0;
#endif
};

// Enters those pages of a mapped range that are in memory already into the process's page table, so that whoever reads them later meets
// no page fault. Reads nothing from a disk. As for any reading, the file must be unchanged(). Does nothing where it is not known to
// help (so far it does on Linux).
void enter_page_table(const std::byte* data, size_t bytes);

// One entry per (file, way of opening): models and workers that load the same file share its pages, and what was made of them.
class MappingRegistry {
 public:
  // Fails with kFileUnreadable, kFileChanged if the size is not `expected_bytes` (0: any), or kOutOfMemory.
  Result<std::shared_ptr<const Mapping>> open(const std::string& path, uint64_t expected_bytes, bool map);
  // What somebody made of mappings and still holds, by a key that says all that it depends on; `make` otherwise, which gives a
  // Result<std::shared_ptr<const T>>.
  template <class T, class Make>
  Result<std::shared_ptr<const T>> share(const std::string& key, Make make) {
    Lock lock(made_mutex_);
    for (auto i = made_.begin(); i != made_.end();) i = i->second.expired() ? made_.erase(i) : std::next(i);
    if (auto found = made_.find(key); found != made_.end())
      if (auto shared = found->second.lock()) return std::static_pointer_cast<const T>(shared);
    INFERNODE_ASSIGN(made, make());
    made_[key] = made;
    return std::shared_ptr<const T>(made);
  }

 private:
  Mutex mutex_, made_mutex_;
  std::map<std::string, std::weak_ptr<const Mapping>> open_;  // by device, inode, size, time and way
  std::map<std::string, std::weak_ptr<const void>> made_;
};

}  // namespace infernode
