// Which pages of the KV cache belong to whom, and what is in them. The memory itself is the backend's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <vector>

#include "plan.h"

namespace infernode {

class KvCache;
struct PrefixBlock;

// The block tables of one sequence: per group of layers, the page of each 64 positions.
class BlockTables {
 public:
  // [group] → [position / 64] → page, -1 where it was given back. Valid until the next change.
  const int32_t* const* pages() const { return pointers_.data(); }
  // Pages that it holds, alone or with others.
  size_t held() const { return held_; }

 private:
  friend class KvCache;
  struct Table {
    std::vector<int32_t> pages;
    size_t first_kept = 0;  // no query to come looks before this block
  };
  std::vector<Table> groups_;
  std::vector<const int32_t*> pointers_;
  std::vector<PrefixBlock*> blocks_;  // what the full blocks contain, from the first
  size_t held_ = 0;
};

// What 64 tokens (or fewer: the end of a text) become after what their parents hold. The tree of all blocks is the index by
// which pages are found: by comparing tokens from the beginning of the text, so equal means equal.
struct PrefixBlock {
  struct Content {
    const int32_t* tokens;
    size_t n;
  };
  struct ByContent {
    using is_transparent = void;
    static Content of(const std::unique_ptr<PrefixBlock>& block) { return {block->tokens.data(), block->tokens.size()}; }
    static Content of(const Content& content) { return content; }
    template <class A, class B>
    bool operator()(const A& a, const B& b) const {
      return less(of(a), of(b));
    }
    static bool less(Content a, Content b);
  };

  PrefixBlock* parent = nullptr;
  std::vector<int32_t> tokens;
  std::vector<int32_t> pages;  // [group], -1 where there is none (any more)
  std::set<std::unique_ptr<PrefixBlock>, ByContent> children;
  uint32_t users = 0;  // sequences that go through it
};

// Copies to be made, in this order, before the next step writes.
struct PageCopy {
  int32_t from, to;
};

// Hands out pages of 64 positions. A page is held by any number of sequences; one whose content is known is kept when the last
// of them lets go, until its room is needed: then the one unused for longest goes first, the end of a text before its beginning.
// Only its one writer holds a page that is not full, so writing never changes what somebody else reads.
class KvCache {
 public:
  static constexpr size_t kPositions = 64;  // of a page

  // `batch_tokens`: most tokens of one step, which a window must hold beside its own positions.
  KvCache(const Plan& plan, size_t cache_tokens, size_t batch_tokens, bool keep_prefixes = true);
  ~KvCache();
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  // The most pages that a sequence of `tokens` holds at any time.
  size_t pages_for(size_t tokens) const;
  bool can_ever_hold(size_t tokens) const { return pages_for(tokens) <= total_pages_; }
  size_t n_groups() const { return windows_.size(); }

  // Gives back what no query at `start` or later sees, then makes room for positions below `end`. False: there are not enough
  // pages now; those that there were are taken.
  bool extend(BlockTables& tables, size_t start, size_t end);
  // Remembers the content of the blocks that are full: `computed` positions of these tokens are in the pages. Where another
  // sequence has computed the same meanwhile, its pages take the place of these.
  void publish(BlockTables& tables, const std::vector<int32_t>& tokens, size_t computed);
  // Gives all pages back; with `tokens`, what of them is not known yet is kept too.
  void release(BlockTables& tables, const std::vector<int32_t>* tokens = nullptr, size_t computed = 0);

  // Another sequence, whose last page may be copied.
  struct Donor {
    const BlockTables* tables;
    const std::vector<int32_t>* tokens;
    size_t computed;
  };
  // Finds what is already computed of `tokens` below `limit`, for a sequence that has only full blocks: shares full pages, and
  // copies the beginning of one where that pays. Returns how many positions the tables hold now.
  size_t attach(BlockTables& tables, const std::vector<int32_t>& tokens, size_t limit, const std::vector<Donor>& donors,
                std::vector<PageCopy>& copies);
  // Whether `gain` positions are worth a copied page. `all`: nothing but the last token is left to compute then.
  static bool pays(size_t gain, bool all) { return gain >= kLeastCopied || (all && gain > 0); }
  // Whether both hold the same text in the blocks before `block`.
  static bool same_before(const BlockTables& a, const BlockTables& b, size_t block) {
    return block == 0 || (a.blocks_.size() >= block && b.blocks_.size() >= block && a.blocks_[block - 1] == b.blocks_[block - 1]);
  }
  static size_t full_blocks(const BlockTables& tables) { return tables.blocks_.size(); }
  // Pages in use that a sequence of these tokens would share.
  size_t in_use_of(const std::vector<int32_t>& tokens, size_t limit) const;

  size_t total_pages() const { return total_pages_; }
  // Pages that a sequence can have: free ones, and those that are only kept.
  size_t available_pages() const { return free_.size() + (total_pages_ - pages_.size()) + kept_; }
  size_t kept_pages() const { return kept_; }
  size_t shared_pages() const { return shared_; }
  uint64_t evicted_pages() const { return evicted_; }
  // The most pages that were ever in use: memory beyond them was never touched.
  size_t touched_pages() const { return pages_.size(); }
  bool keeps_prefixes() const { return keep_prefixes_; }

 private:
  static constexpr size_t kLeastCopied = 8;

  struct Page {
    uint32_t holders = 0;
    uint32_t group = 0;
    PrefixBlock* block = nullptr;         // whose content it has
    int32_t older = -1, newer = -1;  // among the kept ones
  };

  Page& page(int32_t id) { return pages_[static_cast<size_t>(id)]; }
  int32_t take(size_t group);
  void hold(int32_t id);
  void let_go(int32_t id);
  void keep(int32_t id);
  void unkeep(int32_t id);
  void prune(PrefixBlock* block);
  void set_content(PrefixBlock& block, size_t group, int32_t id);
  void drop_unseen(BlockTables& tables, size_t group, size_t start);
  void keep_tail(BlockTables& tables, const std::vector<int32_t>& tokens, size_t computed);
  size_t first_seen_block(size_t group, size_t position) const;
  size_t usable_blocks(const BlockTables& tables, const std::vector<PrefixBlock*>& path) const;
  bool copy_tail(BlockTables& tables, const std::vector<int32_t>& pages, std::vector<PageCopy>& copies);
  PrefixBlock* last_block(const BlockTables& tables) { return tables.blocks_.empty() ? &root_ : tables.blocks_.back(); }
  void prepare(BlockTables& tables) const;

  const bool keep_prefixes_;
  std::vector<uint32_t> windows_;  // of the groups, 0: all positions
  size_t total_pages_, batch_tokens_;
  std::vector<Page> pages_;    // those ever used
  std::vector<int32_t> free_;  // given back; the latest is reused first, while it is warm
  int32_t oldest_ = -1, newest_ = -1;  // the kept pages
  size_t kept_ = 0, shared_ = 0;
  uint64_t evicted_ = 0;
  PrefixBlock root_;
};

}  // namespace infernode
