// Blocks of memory between two owners.
#include "spare_pages.h"

#include <algorithm>

namespace infernode {

namespace {
// Sanitizers find uses of freed memory only if it is freed, and threads' races on it only if it is not handed on.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#elif defined(__has_feature)
constexpr bool kSanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer);
#else
constexpr bool kSanitized = false;
#endif
}  // namespace

SparePages& SparePages::shared() {
  static SparePages* const one = new SparePages;  // never destroyed: threads may end after the process's destructors have run
  return *one;
}

size_t SparePages::kept_bytes() const {
  size_t sum = 0;
  for (const Pages& block : blocks_) sum += block.size();
  return sum;
}

Result<Pages> SparePages::take(size_t bytes, const char* purpose) {
  {
    Lock lock(mutex_);
    auto best = blocks_.end();
    for (auto block = blocks_.begin(); block != blocks_.end(); ++block)
      if (block->size() >= bytes && block->size() - bytes <= bytes / 8 && (best == blocks_.end() || block->size() <= best->size()))
        best = block;
    if (best != blocks_.end()) {
      Pages pages = std::move(*best);
      blocks_.erase(best);
      return pages;
    }
  }
  return Pages::make(bytes, purpose, true);
}

void SparePages::give(Pages pages) {
  if (kSanitized || pages.size() == 0 || pages.size() > kMostBytes) return;
  std::vector<Pages> old;  // unmapped without the lock
  Lock lock(mutex_);
  if (!keeps_.load()) return lock.unlock();
  size_t sum = kept_bytes() + pages.size();
  auto kept = blocks_.begin();
  for (; sum > kMostBytes || blocks_.end() - kept >= static_cast<ptrdiff_t>(kMostBlocks); ++kept) {
    sum -= kept->size();
    old.push_back(std::move(*kept));
  }
  blocks_.erase(blocks_.begin(), kept);
  blocks_.push_back(std::move(pages));
  lock.unlock();
}

void SparePages::release() {
  std::vector<Pages> old;
  Lock lock(mutex_);
  keeps_.store(false);
  old.swap(blocks_);
  lock.unlock();
}

size_t SparePages::bytes() {
  Lock lock(mutex_);
  return kept_bytes();
}

}  // namespace infernode
