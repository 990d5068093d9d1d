// Which sequences run, and which of their tokens go into the next step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "kv_cache.h"
#include "sequence.h"

namespace infernode {

// A piece of a sequence in a step: its tokens [start, start + n).
struct BatchPart {
  Sequence* sequence;
  size_t start, n;
};

// A step has one token of every sequence that generates, and beside them at most kChunk tokens of prompts, which take turns.
//
// Sequences have a rank: priority, then arrival. They take pages as they grow; where none is left, the sequence of the lowest
// rank is set back: it gives its pages away, waits, and is computed again later. So the highest rank always gets on.
// A prompt that begins like one that is being computed waits for it, and shares its pages.
class Scheduler {
 public:
  // While others generate, prompts come in chunks of this size, so that the next token does not wait for all of them.
  static constexpr size_t kChunk = 128;

  Scheduler(KvCache& cache, size_t batch_tokens, size_t max_queue) : cache_(cache), batch_tokens_(batch_tokens), max_queue_(max_queue) {}

  // Fails with kQueueFull; the sequence is then still the caller's to fail. What has room in the cache does not wait, so it does
  // not count as waiting; nor does what was set back. The cache must be able to hold it when it is alone.
  Status add(std::unique_ptr<Sequence>& sequence);
  // Takes a sequence out, waiting or running, and gives its pages back; null if there is none of that id.
  std::unique_ptr<Sequence> remove(uint64_t id);
  // Takes out those whose time is over.
  std::vector<std::unique_ptr<Sequence>> take_expired(Sequence::Clock::time_point now);
  // Every sequence there is, waiting or running, for ending them all.
  std::vector<std::unique_ptr<Sequence>> take_all();

  // Admits what fits and composes the next step; empty if there is nothing to do, or nothing that there are pages for.
  const std::vector<BatchPart>& next_step();
  // What must be copied before that step runs.
  const std::vector<PageCopy>& copies() const { return copies_; }
  // A step has computed more of it: others may share that from now on.
  void publish(Sequence& sequence) { cache_.publish(sequence.tables, sequence.tokens(), sequence.computed()); }
  // Sets back the running sequence of the lowest rank; false if none runs. For work beside the scheduler that needs pages.
  bool set_back_one();

  size_t running() const { return running_.size(); }
  size_t waiting() const { return waiting_.size(); }
  // How often a sequence was set back.
  uint64_t preemptions() const { return preemptions_; }
  // Positions that were found in the cache instead of computed.
  uint64_t cached_tokens() const { return cached_tokens_; }

 private:
  void admit();
  size_t next_waiting() const;
  bool fits(const Sequence& sequence) const;
  void run(size_t waiting);
  void set_back(Sequence& sequence);
  bool grow(Sequence& sequence, size_t end);
  bool waits_for_another(const Sequence& sequence) const;
  void attach(Sequence& sequence);
  void add_decoding();
  void add_prompts();
  void release(Sequence& sequence);

  KvCache& cache_;
  const size_t batch_tokens_, max_queue_;
  std::vector<std::unique_ptr<Sequence>> waiting_;
  std::vector<std::unique_ptr<Sequence>> running_;  // by rank, the highest first
  std::map<uint64_t, size_t> running_of_caller_;
  uint64_t arrivals_ = 0, turn_ = 0, preemptions_ = 0, cached_tokens_ = 0;

  // Of the step.
  std::vector<BatchPart> step_;
  std::vector<PageCopy> copies_;
  std::vector<Sequence*> prompts_;
  std::vector<KvCache::Donor> donors_;
};

}  // namespace infernode
