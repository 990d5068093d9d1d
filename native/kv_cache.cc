// Page accounting of the KV cache.
#include "kv_cache.h"

#include <algorithm>

namespace infernode {

KvCache::KvCache(const Plan& plan, size_t cache_tokens, size_t batch_tokens) : batch_tokens_(batch_tokens) {
  for (const PlanKvGroup& group : plan.kv_groups) groups_.push_back(group.window);
  total_pages_ = pages_of_cache(cache_tokens);
}

size_t KvCache::pages_for(size_t tokens) const {
  const size_t all = (tokens + kPositions - 1) / kPositions;
  size_t pages = 0;
  for (uint32_t window : groups_)
    // The window and one step's tokens lie anywhere in their first and last page.
    pages += window ? std::min(all, (window + batch_tokens_) / kPositions + 2) : all;
  return pages;
}

bool KvCache::reserve(size_t pages) {
  if (reserved_ + pages > total_pages_) return false;
  reserved_ += pages;
  return true;
}

int32_t KvCache::take() {
  if (!free_.empty()) {
    const int32_t page = free_.back();
    free_.pop_back();
    return page;
  }
  return next_unused_ < total_pages_ ? static_cast<int32_t>(next_unused_++) : -1;
}

bool KvCache::extend(BlockTables& tables, size_t start, size_t end) {
  tables.groups_.resize(groups_.size());
  tables.pointers_.resize(groups_.size());
  bool enough = true;
  for (size_t g = 0; g < groups_.size(); g++) {
    BlockTables::Table& table = tables.groups_[g];
    // A query at `start` sees positions > start - window.
    const size_t first_seen = groups_[g] && start + 1 > groups_[g] ? start + 1 - groups_[g] : 0;
    const size_t first_kept = std::min(first_seen / kPositions, table.pages.size());
    for (size_t i = table.first_kept; i < first_kept; i++) {
      free_.push_back(table.pages[i]);
      table.pages[i] = -1;
    }
    table.first_kept = std::max(table.first_kept, first_kept);
    while (enough && table.pages.size() * kPositions < end) {
      const int32_t page = take();
      if (page < 0) enough = false;
      else table.pages.push_back(page);
    }
    tables.pointers_[g] = table.pages.data();
  }
  return enough;
}

void KvCache::release(BlockTables& tables) {
  for (BlockTables::Table& table : tables.groups_) {
    for (int32_t page : table.pages)
      if (page >= 0) free_.push_back(page);
    table.pages.clear();
    table.first_kept = 0;
  }
  tables.groups_.clear();
  tables.pointers_.clear();
}

}  // namespace infernode
