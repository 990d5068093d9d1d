// A KV cache in miniature: every position holds a hash of all tokens up to it, so a wrong page anywhere is a wrong number.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "kv_cache.h"

namespace infernode::test {

constexpr size_t kPage = KvCache::kPositions;

inline Plan plan_with_windows(std::vector<uint32_t> windows) {
  Plan plan{};
  for (uint32_t i = 0; i < windows.size(); i++) plan.kv_groups.push_back({{i}, windows[i]});
  return plan;
}

// A reproducible stream of numbers.
struct Numbers {
  uint64_t state;
  uint64_t next() {
    state += 0x9E3779B97F4A7C15;
    uint64_t x = state;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
    return x ^ (x >> 31);
  }
  size_t below(size_t n) { return static_cast<size_t>(next() % n); }
};

inline uint64_t hash_after(uint64_t before, int32_t token) { return Numbers{before * 31 + static_cast<uint64_t>(token)}.next(); }

class CacheModel {
 public:
  explicit CacheModel(std::vector<uint32_t> windows) : windows_(std::move(windows)) {}

  void copy(const std::vector<PageCopy>& copies) {
    for (const PageCopy& c : copies) memory_[c.to] = memory_[c.from];
  }

  // What a step does: every position is written, then looks at all that it sees. CHECKs that each is as it must be.
  void compute(const BlockTables& tables, const std::vector<int32_t>& tokens, size_t start, size_t end) {
    std::vector<uint64_t> hashes(end);
    uint64_t hash = 1;
    for (size_t i = 0; i < end; i++) hashes[i] = hash = hash_after(hash, tokens[i]);
    size_t wrong = 0;
    for (size_t g = 0; g < windows_.size(); g++) {
      for (size_t i = start; i < end; i++) at(tables, g, i) = hashes[i];
      const size_t window = windows_[g];
      const size_t first = window && start + 1 > window ? start + 1 - window : 0;
      for (size_t i = first; i < end; i++) wrong += at(tables, g, i) != hashes[i];
    }
    CHECK(wrong == 0);
  }

 private:
  uint64_t& at(const BlockTables& tables, size_t group, size_t position) {
    const int32_t page = tables.pages()[group][position / kPage];
    REQUIRE(page >= 0);
    auto& content = memory_[page];
    content.resize(kPage);
    return content[position % kPage];
  }

  std::vector<uint32_t> windows_;
  std::map<int32_t, std::vector<uint64_t>> memory_;
};

}  // namespace infernode::test
