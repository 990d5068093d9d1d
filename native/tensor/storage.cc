// Memory of tensors.
#include "tensor/storage.h"

#include "machine.h"
#include "tensor/job.h"
#include "threading.h"

namespace infernode::tensor {

namespace {
constexpr size_t kLarge = size_t{256} << 10;  // from here on a mapping of its own: zeroed lazily, given back when freed
constexpr size_t kMostKept = size_t{64} << 20;

// Scratch that was used last.
struct Kept {
  Mutex mutex;
  Pages pages;
};
Kept& kept() {
  static Kept* const one = new Kept;  // never destroyed: threads may end after the process's destructors have run
  return *one;
}
}

Result<std::shared_ptr<Storage>> Storage::make(size_t bytes) {
  // Address space can be had beyond it, but every value of a tensor gets written: the system would end the process then.
  static const size_t most = physical_memory();
  if (bytes > most) return error(ErrorCode::kOutOfMemory, {"a tensor", std::to_string(bytes)});
  std::shared_ptr<Storage> storage(new Storage);
  if (bytes >= kLarge) {
    INFERNODE_ASSIGN(pages, Pages::make(bytes, "a tensor", true));
    storage->large_ = std::move(pages);
    storage->data_ = storage->large_.data();
  } else {
    INFERNODE_ASSIGN(array, Array<std::byte>::make(bytes == 0 ? 1 : bytes, "a tensor"));
    storage->small_ = std::move(array);
    storage->data_ = storage->small_.data();
  }
  storage->bytes_ = bytes;
  return storage;
}

Result<std::shared_ptr<Storage>> Storage::make_scratch(size_t bytes) {
  std::shared_ptr<Storage> storage;
  if (bytes >= kLarge) {
    Lock lock(kept().mutex);
    if (kept().pages.size() >= bytes) {
      storage.reset(new Storage);
      storage->large_ = std::move(kept().pages);
      storage->data_ = storage->large_.data();
      storage->bytes_ = bytes;
    }
  }
  if (!storage) {
    INFERNODE_ASSIGN(made, make(bytes));
    storage = std::move(made);
  }
  storage->scratch_ = true;
  return storage;
}

std::shared_ptr<Storage> Storage::adopt(std::byte* data, size_t bytes, std::function<void()> release) {
  std::shared_ptr<Storage> storage(new Storage);
  storage->data_ = data;
  storage->bytes_ = bytes;
  storage->adopted_ = true;
  storage->release_ = std::move(release);
  return storage;
}

Storage::~Storage() {
  if (scratch_ && large_.size() <= kMostKept) {
    Lock lock(kept().mutex);
    if (kept().pages.size() < large_.size()) std::swap(kept().pages, large_);
  }
  if (release_) release_();
}

}  // namespace infernode::tensor
