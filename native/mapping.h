// Files of a checkpoint in memory: mapped (shared by everyone who opens the same file) or read.
#pragma once

#include <cstddef>
#include <cstdint>
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

 private:
  friend class MappingRegistry;
  Mapping() = default;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  bool mapped_ = false;
  Array<std::byte> bytes_;  // where the file was read instead
};

// One entry per (file, way of opening): models and workers that load the same file share its pages.
class MappingRegistry {
 public:
  // Fails with kFileUnreadable, kFileChanged if the size is not `expected_bytes` (0: any), or kOutOfMemory.
  Result<std::shared_ptr<const Mapping>> open(const std::string& path, uint64_t expected_bytes, bool map);

 private:
  Mutex mutex_;
  std::map<std::string, std::weak_ptr<const Mapping>> open_;  // by device, inode, size, time and way
};

}  // namespace infernode
