// Pages of the KV cache: who holds them, what is in them, and which goes first.
#include "kv_cache.h"

#include <algorithm>

namespace infernode {

namespace {

size_t common_prefix(const int32_t* a, const int32_t* b, size_t most) {
  size_t n = 0;
  while (n < most && a[n] == b[n]) n++;
  return n;
}

bool complete(const PrefixBlock& block) {
  return std::all_of(block.pages.begin(), block.pages.end(), [](int32_t id) { return id >= 0; });
}

// The child that shares the most tokens with `content`, of those that have all their pages; and how many. The order is by
// content, so it is a neighbour of the place where `content` would be.
std::pair<PrefixBlock*, size_t> nearest_child(const PrefixBlock& parent, PrefixBlock::Content content) {
  std::pair<PrefixBlock*, size_t> best{nullptr, 0};
  const auto consider = [&](PrefixBlock* child) {
    const size_t n = common_prefix(child->tokens.data(), content.tokens, std::min(child->tokens.size(), content.n));
    if (n > best.second && complete(*child)) best = {child, n};
  };
  const auto after = parent.children.lower_bound(content);
  if (after != parent.children.end()) consider(after->get());
  if (after != parent.children.begin()) consider(std::prev(after)->get());
  return best;
}

}  // namespace

bool PrefixBlock::ByContent::less(Content a, Content b) {
  return std::lexicographical_compare(a.tokens, a.tokens + a.n, b.tokens, b.tokens + b.n);
}

KvCache::KvCache(const Plan& plan, size_t cache_tokens, size_t batch_tokens, bool keep_prefixes)
    : keep_prefixes_(keep_prefixes && !plan.kv_groups.empty()), batch_tokens_(batch_tokens) {
  for (const PlanKvGroup& group : plan.kv_groups) windows_.push_back(group.window);
  total_pages_ = windows_.size() * ((cache_tokens + kPositions - 1) / kPositions);
}

// Not by recursion: a text may be thousands of blocks long.
KvCache::~KvCache() {
  std::vector<std::unique_ptr<PrefixBlock>> doomed;
  const auto take_children = [&](PrefixBlock& block) {
    while (!block.children.empty()) doomed.push_back(std::move(block.children.extract(block.children.begin()).value()));
  };
  take_children(root_);
  while (!doomed.empty()) {
    const std::unique_ptr<PrefixBlock> block = std::move(doomed.back());
    doomed.pop_back();
    take_children(*block);
  }
}

size_t KvCache::pages_for(size_t tokens) const {
  const size_t all = (tokens + kPositions - 1) / kPositions;
  size_t pages = 0;
  for (uint32_t window : windows_)
    // The window and one step's tokens lie anywhere in their first and last page.
    pages += window ? std::min(all, (window + batch_tokens_) / kPositions + 2) : all;
  return pages;
}

// A query at `position` sees positions > position - window.
size_t KvCache::first_seen_block(size_t group, size_t position) const {
  const size_t window = windows_[group];
  return window && position + 1 > window ? (position + 1 - window) / kPositions : 0;
}

void KvCache::prepare(BlockTables& tables) const {
  tables.groups_.resize(windows_.size());
  tables.pointers_.resize(windows_.size());
}

// ---- Pages ----

int32_t KvCache::take(size_t group) {
  int32_t id;
  if (!free_.empty()) {
    id = free_.back();
    free_.pop_back();
  } else if (pages_.size() < total_pages_) {
    id = static_cast<int32_t>(pages_.size());
    pages_.emplace_back();
  } else if (oldest_ >= 0) {
    id = oldest_;
    unkeep(id);
    evicted_++;
    PrefixBlock* block = page(id).block;
    page(id).block = nullptr;
    block->pages[page(id).group] = -1;
    prune(block);
  } else {
    return -1;
  }
  page(id).group = static_cast<uint32_t>(group);
  page(id).holders = 1;
  return id;
}

void KvCache::hold(int32_t id) {
  Page& held = page(id);
  if (held.holders == 0) unkeep(id);
  if (++held.holders == 2) shared_++;
}

void KvCache::let_go(int32_t id) {
  Page& left = page(id);
  if (--left.holders == 1) shared_--;
  if (left.holders > 0) return;
  if (left.block) keep(id);
  else free_.push_back(id);
}

void KvCache::keep(int32_t id) {
  page(id).older = newest_;
  page(id).newer = -1;
  (newest_ >= 0 ? page(newest_).newer : oldest_) = id;
  newest_ = id;
  kept_++;
}

void KvCache::unkeep(int32_t id) {
  const Page kept = page(id);
  (kept.older >= 0 ? page(kept.older).newer : oldest_) = kept.newer;
  (kept.newer >= 0 ? page(kept.newer).older : newest_) = kept.older;
  kept_--;
}

// ---- Contents ----

void KvCache::set_content(PrefixBlock& block, size_t group, int32_t id) {
  block.pages[group] = id;
  page(id).block = &block;
}

// Forgets blocks that nobody goes through any more.
void KvCache::prune(PrefixBlock* block) {
  while (block != &root_ && block->users == 0 && block->children.empty() &&
         std::all_of(block->pages.begin(), block->pages.end(), [](int32_t id) { return id < 0; })) {
    PrefixBlock* parent = block->parent;
    parent->children.erase(parent->children.find(PrefixBlock::Content{block->tokens.data(), block->tokens.size()}));
    block = parent;
  }
}

// Gives back what no query at `start` or later sees.
void KvCache::drop_unseen(BlockTables& tables, size_t group, size_t start) {
  BlockTables::Table& table = tables.groups_[group];
  const size_t first_kept = std::min(first_seen_block(group, start), table.pages.size());
  for (; table.first_kept < first_kept; table.first_kept++) {
    int32_t& id = table.pages[table.first_kept];
    if (id < 0) continue;
    let_go(id);
    id = -1;
    tables.held_--;
  }
}

bool KvCache::extend(BlockTables& tables, size_t start, size_t end) {
  prepare(tables);
  bool enough = true;
  for (size_t g = 0; g < windows_.size(); g++) {
    BlockTables::Table& table = tables.groups_[g];
    drop_unseen(tables, g, start);
    while (enough && table.pages.size() * kPositions < end) {
      const int32_t id = take(g);
      if (id < 0) {
        enough = false;
      } else {
        table.pages.push_back(id);
        tables.held_++;
      }
    }
    tables.pointers_[g] = table.pages.data();
  }
  return enough;
}

void KvCache::publish(BlockTables& tables, const std::vector<int32_t>& tokens, size_t computed) {
  if (!keep_prefixes_) return;
  while ((tables.blocks_.size() + 1) * kPositions <= computed) {
    const size_t b = tables.blocks_.size();
    const PrefixBlock::Content content{tokens.data() + b * kPositions, kPositions};
    PrefixBlock* parent = last_block(tables);
    auto found = parent->children.find(content);
    if (found == parent->children.end()) {
      auto made = std::make_unique<PrefixBlock>();
      made->parent = parent;
      made->tokens.assign(content.tokens, content.tokens + content.n);
      made->pages.assign(windows_.size(), -1);
      found = parent->children.insert(std::move(made)).first;
    }
    PrefixBlock& block = **found;
    for (size_t g = 0; g < windows_.size(); g++) {
      int32_t& mine = tables.groups_[g].pages[b];
      if (mine < 0 || mine == block.pages[g]) continue;
      if (block.pages[g] < 0) {
        set_content(block, g, mine);
      } else {  // the same bits, computed twice
        hold(block.pages[g]);
        let_go(std::exchange(mine, block.pages[g]));
      }
    }
    block.users++;
    tables.blocks_.push_back(&block);
  }
}

void KvCache::keep_tail(BlockTables& tables, const std::vector<int32_t>& tokens, size_t computed) {
  const size_t b = tables.blocks_.size(), n = computed - b * kPositions;
  if (!pays(n, false)) return;
  for (const BlockTables::Table& table : tables.groups_)
    if (table.pages.size() <= b || table.pages[b] < 0) return;
  PrefixBlock* parent = last_block(tables);
  const PrefixBlock::Content content{tokens.data() + b * kPositions, n};
  if (nearest_child(*parent, content).second == n) return;
  auto found = parent->children.find(content);
  if (found == parent->children.end()) {
    auto made = std::make_unique<PrefixBlock>();
    made->parent = parent;
    made->tokens.assign(content.tokens, content.tokens + n);
    made->pages.assign(windows_.size(), -1);
    found = parent->children.insert(std::move(made)).first;
  }
  for (size_t g = 0; g < windows_.size(); g++)
    if ((*found)->pages[g] < 0) set_content(**found, g, tables.groups_[g].pages[b]);
}

void KvCache::release(BlockTables& tables, const std::vector<int32_t>* tokens, size_t computed) {
  if (tokens && keep_prefixes_ && tables.blocks_.size() == computed / kPositions) keep_tail(tables, *tokens, computed);
  size_t blocks = 0;
  for (const BlockTables::Table& table : tables.groups_) blocks = std::max(blocks, table.pages.size());
  // The end first, so that it is evicted first: without the beginning it is of no use.
  for (size_t b = blocks; b-- > 0;)
    for (const BlockTables::Table& table : tables.groups_)
      if (b < table.pages.size() && table.pages[b] >= 0) let_go(table.pages[b]);
  while (!tables.blocks_.empty()) {
    PrefixBlock* block = tables.blocks_.back();
    tables.blocks_.pop_back();
    block->users--;
    prune(block);
  }
  tables.groups_.clear();
  tables.pointers_.clear();
  tables.held_ = 0;
}

// ---- Finding what is computed ----

// How many blocks of `path` a sequence can go on after: up to there, every group has all pages that a later query looks at.
size_t KvCache::usable_blocks(const BlockTables& tables, const std::vector<PrefixBlock*>& path) const {
  const size_t had = tables.blocks_.size();
  size_t usable = had;
  std::vector<size_t> run(windows_.size());  // blocks with pages, up to the one at hand
  for (size_t g = 0; g < windows_.size(); g++) run[g] = had - std::min(had, tables.groups_[g].first_kept);
  for (size_t k = had + 1; k <= path.size(); k++) {
    bool all = true;
    for (size_t g = 0; g < windows_.size(); g++) {
      run[g] = path[k - 1]->pages[g] >= 0 ? run[g] + 1 : 0;
      if (run[g] + first_seen_block(g, k * kPositions) < k) all = false;
    }
    if (all) usable = k;
  }
  return usable;
}

// A writable copy of the pages of a block that others have begun. False if there is no room for it.
bool KvCache::copy_tail(BlockTables& tables, const std::vector<int32_t>& from, std::vector<PageCopy>& copies) {
  for (int32_t id : from) hold(id);  // so that making room does not take them
  std::vector<int32_t> to;
  for (size_t g = 0; g < from.size(); g++) {
    const int32_t id = take(g);
    if (id < 0) break;
    to.push_back(id);
  }
  for (int32_t id : from) let_go(id);
  if (to.size() < from.size()) {
    for (int32_t id : to) let_go(id);
    return false;
  }
  for (size_t g = 0; g < from.size(); g++) {
    tables.groups_[g].pages.push_back(to[g]);
    copies.push_back({from[g], to[g]});
  }
  tables.held_ += to.size();
  return true;
}

size_t KvCache::attach(BlockTables& tables, const std::vector<int32_t>& tokens, size_t limit, const std::vector<Donor>& donors,
                       std::vector<PageCopy>& copies) {
  const size_t had = tables.blocks_.size();
  if (!keep_prefixes_) return had * kPositions;
  prepare(tables);
  for (const BlockTables::Table& table : tables.groups_)
    if (table.pages.size() != had) return had * kPositions;  // room was made for what comes

  std::vector<PrefixBlock*> path = tables.blocks_;
  PrefixBlock* end = last_block(tables);
  while ((path.size() + 1) * kPositions <= limit) {
    const auto found = end->children.find(PrefixBlock::Content{tokens.data() + path.size() * kPositions, kPositions});
    if (found == end->children.end()) break;
    path.push_back(end = found->get());
  }
  const size_t usable = usable_blocks(tables, path);
  for (size_t b = had; b < usable; b++) {
    for (size_t g = 0; g < windows_.size(); g++) {
      const bool seen = b >= first_seen_block(g, usable * kPositions);
      const int32_t id = seen ? path[b]->pages[g] : -1;
      tables.groups_[g].pages.push_back(id);
      if (id < 0) continue;
      hold(id);
      tables.held_++;
    }
    path[b]->users++;
    tables.blocks_.push_back(path[b]);
  }

  for (size_t g = 0; g < windows_.size(); g++) drop_unseen(tables, g, usable * kPositions);

  size_t computed = usable * kPositions;
  if (usable == path.size()) {
    // The beginning of the next block: in the index, or in a page that its writer still fills.
    const PrefixBlock::Content rest{tokens.data() + computed, std::min(limit - computed, kPositions)};
    const auto [child, in_child] = nearest_child(*last_block(tables), rest);
    size_t best = in_child;
    std::vector<int32_t> pages;
    if (child) pages = child->pages;
    for (const Donor& donor : donors) {
      if (donor.computed <= computed || donor.tables == &tables || !same_before(tables, *donor.tables, usable)) continue;
      const size_t n = common_prefix(rest.tokens, donor.tokens->data() + computed, std::min(rest.n, donor.computed - computed));
      const auto& groups = donor.tables->groups_;
      const bool whole = std::all_of(groups.begin(), groups.end(), [&](const BlockTables::Table& table) {
        return table.pages.size() > usable && table.pages[usable] >= 0;
      });
      if (n <= best || !whole) continue;
      best = n;
      pages.clear();
      for (const BlockTables::Table& table : groups) pages.push_back(table.pages[usable]);
    }
    if (pays(best, best == limit - computed) && copy_tail(tables, pages, copies)) computed += best;
  }
  for (size_t g = 0; g < windows_.size(); g++) tables.pointers_[g] = tables.groups_[g].pages.data();
  return computed;
}

size_t KvCache::in_use_of(const std::vector<int32_t>& tokens, size_t limit) const {
  size_t pages = 0;
  const PrefixBlock* end = &root_;
  for (size_t b = 0; (b + 1) * kPositions <= limit; b++) {
    const auto found = end->children.find(PrefixBlock::Content{tokens.data() + b * kPositions, kPositions});
    if (found == end->children.end()) break;
    end = found->get();
    for (int32_t id : end->pages) pages += id >= 0 && pages_[static_cast<size_t>(id)].holders > 0;
  }
  return pages;
}

}  // namespace infernode
