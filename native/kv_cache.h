// Which pages of the KV cache belong to whom. The memory itself is the backend's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "plan.h"

namespace infernode {

class KvCache;

// The block tables of one sequence: per group of layers, the page of each 64 positions.
class BlockTables {
 public:
  // [group] → [position / 64] → page, -1 where it was given back. Valid until the next change.
  const int32_t* const* pages() const { return pointers_.data(); }

 private:
  friend class KvCache;
  struct Table {
    std::vector<int32_t> pages;
    size_t first_kept = 0;  // everything before is -1
  };
  std::vector<Table> groups_;
  std::vector<const int32_t*> pointers_;
};

// Hands out pages. Room is reserved when a sequence is admitted, so that a running one never fails for lack of pages.
class KvCache {
 public:
  static constexpr size_t kPositions = 64;  // of a page

  // `batch_tokens`: most tokens of one step, which a window must hold beside its own positions.
  KvCache(const Plan& plan, size_t cache_tokens, size_t batch_tokens);

  // Pages that a cache for `tokens` positions has in all, and the most that a sequence of `tokens` holds at any time.
  size_t pages_of_cache(size_t tokens) const { return groups_.size() * ((tokens + kPositions - 1) / kPositions); }
  size_t pages_for(size_t tokens) const;

  bool can_ever_hold(size_t tokens) const { return pages_for(tokens) <= total_pages_; }
  // False: not now. Reserved pages are counted, not taken.
  bool reserve(size_t pages);
  void unreserve(size_t pages) { reserved_ -= pages; }

  // Gives back what no query at `start` or later sees, then makes room for positions below `end`.
  // False only if more was asked for than was reserved.
  bool extend(BlockTables& tables, size_t start, size_t end);
  void release(BlockTables& tables);

  size_t total_pages() const { return total_pages_; }
  size_t free_pages() const { return free_.size() + (total_pages_ - next_unused_); }
  // The most pages that were ever in use: memory beyond them was never touched.
  size_t touched_pages() const { return next_unused_; }

 private:
  int32_t take();

  std::vector<uint32_t> groups_;  // windows, 0: all positions
  size_t total_pages_, batch_tokens_;
  size_t reserved_ = 0;
  size_t next_unused_ = 0;    // pages from here on were never used
  std::vector<int32_t> free_;  // given back; the latest is reused first, while it is warm
};

}  // namespace infernode
