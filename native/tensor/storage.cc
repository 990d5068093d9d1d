// Memory of tensors.
#include "tensor/storage.h"

#include "machine.h"
#include "tensor/job.h"

namespace infernode::tensor {

namespace {
constexpr size_t kLarge = size_t{256} << 10;  // from here on a mapping of its own
}

Result<std::shared_ptr<Storage>> Storage::make(size_t bytes, Contents contents) {
  // Address space can be had beyond it, but every value of a tensor gets written: the system would end the process then.
  static const size_t most = physical_memory();
  if (bytes > most) return error(ErrorCode::kOutOfMemory, {"a tensor", std::to_string(bytes)});
  std::shared_ptr<Storage> storage(new Storage);
  if (bytes >= kLarge) {
    auto pages = contents == Contents::kZeros ? Pages::make(bytes, "a tensor", true) : SparePages::shared().take(bytes, "a tensor");
    if (!pages) return pages.error();
    storage->large_ = std::move(*pages);
    storage->data_ = storage->large_.data();
  } else {
    INFERNODE_ASSIGN(array, Array<std::byte>::make(bytes == 0 ? 1 : bytes, "a tensor"));
    storage->small_ = std::move(array);
    storage->data_ = storage->small_.data();
  }
  storage->bytes_ = bytes;
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
  SparePages::shared().give(std::move(large_));
  if (release_) release_();
}

}  // namespace infernode::tensor
