// Merging pairs of neighbouring symbols, best first: the loop that BPE and SentencePiece share.
#pragma once

#include <algorithm>
#include <cstdint>

#include "array.h"
#include "result.h"

namespace infernode {

struct Symbol {
  int32_t id;              // -1: no piece of the vocabulary
  uint32_t start, length;  // bytes in the word; length 0: merged away
  int32_t previous, next;  // -1: none
};

// What two symbols would become; rank UINT32_MAX: nothing.
struct MergedPair {
  uint32_t rank;
  int32_t id;
};
constexpr MergedPair kNoPair{UINT32_MAX, -1};

// Symbols and queue of one word. Kept between words, so that its memory is allocated once.
class MergeScratch {
 public:
  // Room for a word of `n` symbols.
  Status reserve(size_t n) {
    if (n <= symbols_.size()) return {};
    const size_t room = std::max<size_t>(64, n + n / 2);
    INFERNODE_ASSIGN(symbols, Array<Symbol>::make(room, "tokenizing"));
    // Each symbol but the last begins one pair, and each merge makes at most two new ones.
    INFERNODE_ASSIGN(queue, Array<Candidate>::make(3 * room, "tokenizing"));
    symbols_ = std::move(symbols);
    queue_ = std::move(queue);
    return {};
  }

  void clear() { count_ = 0; }
  void add(int32_t id, uint32_t start, uint32_t length) {
    const int32_t i = static_cast<int32_t>(count_++);
    symbols_[static_cast<size_t>(i)] = {id, start, length, i - 1, -1};
    if (i > 0) symbols_[static_cast<size_t>(i) - 1].next = i;
  }
  size_t count() const { return count_; }
  const Symbol& operator[](size_t i) const { return symbols_[i]; }

  // Merges until `pair(left, right)` finds nothing more: lowest rank first, then leftmost. Afterwards the symbols with a length
  // are the result, in order. O(n log n).
  template <class Pair>
  void merge(const Pair& pair) {
    if (count_ <= kShort) {
      merge_short(pair);
    } else {
      merge_long(pair);
    }
  }

 private:
  // Below this, looking at all pairs again after each merge is faster than a queue.
  static constexpr size_t kShort = 24;

  struct Candidate {
    uint64_t order;  // rank, then the left symbol
    int32_t id;
    uint32_t length;  // of both symbols: tells whether they are still what they were
  };

  template <class Pair>
  void merge_short(const Pair& pair) {
    MergedPair pairs[kShort];
    size_t n = count_;
    for (size_t i = 0; i + 1 < n; i++) pairs[i] = pair(symbols_[i], symbols_[i + 1]);
    for (;;) {
      uint32_t best_rank = UINT32_MAX;
      size_t best = 0;
      for (size_t i = 0; i + 1 < n; i++)
        if (pairs[i].rank < best_rank) best_rank = pairs[best = i].rank;
      if (best_rank == UINT32_MAX) break;
      symbols_[best].id = pairs[best].id;
      symbols_[best].length += symbols_[best + 1].length;
      std::copy(symbols_.data() + best + 2, symbols_.data() + n, symbols_.data() + best + 1);
      std::copy(pairs + best + 1, pairs + n - 1, pairs + best);
      n--;
      if (best > 0) pairs[best - 1] = pair(symbols_[best - 1], symbols_[best]);
      if (best + 1 < n) pairs[best] = pair(symbols_[best], symbols_[best + 1]);
    }
    count_ = n;
  }

  template <class Pair>
  void merge_long(const Pair& pair) {
    size_t queued = 0;
    Candidate* queue = queue_.data();
    const auto later = [](const Candidate& a, const Candidate& b) { return a.order > b.order; };
    const auto candidate = [&](int32_t left) {
      const Symbol& a = symbols_[static_cast<size_t>(left)];
      const Symbol& b = symbols_[static_cast<size_t>(a.next)];
      const MergedPair found = pair(a, b);
      if (found.rank == UINT32_MAX) return false;
      queue[queued++] = {static_cast<uint64_t>(found.rank) << 32 | static_cast<uint32_t>(left), found.id, a.length + b.length};
      return true;
    };
    for (size_t i = 0; i + 1 < count_; i++) candidate(static_cast<int32_t>(i));
    std::make_heap(queue, queue + queued, later);
    while (queued > 0) {
      std::pop_heap(queue, queue + queued, later);
      const Candidate best = queue[--queued];
      const int32_t at = static_cast<int32_t>(best.order & 0xFFFFFFFFu);
      Symbol& left = symbols_[static_cast<size_t>(at)];
      if (left.length == 0 || left.next < 0) continue;
      Symbol& right = symbols_[static_cast<size_t>(left.next)];
      if (left.length + right.length != best.length) continue;
      left.id = best.id;
      left.length = best.length;
      left.next = right.next;
      right.length = 0;
      if (left.next >= 0) symbols_[static_cast<size_t>(left.next)].previous = at;
      if (left.previous >= 0 && candidate(left.previous)) std::push_heap(queue, queue + queued, later);
      if (left.next >= 0 && candidate(at)) std::push_heap(queue, queue + queued, later);
    }
  }

  Array<Symbol> symbols_;
  Array<Candidate> queue_;
  size_t count_ = 0;
};

}  // namespace infernode
