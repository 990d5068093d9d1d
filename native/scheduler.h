// Which sequences run, and which of their tokens go into the next step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
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

// First come, first served. Room in the cache is reserved when a sequence is admitted, for the longest it can become, so what
// runs never waits for pages; what does not fit yet waits its turn.
class Scheduler {
 public:
  Scheduler(KvCache& cache, size_t batch_tokens, size_t max_queue) : cache_(cache), batch_tokens_(batch_tokens), max_queue_(max_queue) {}

  // Fails with kQueueFull, or kCacheTooSmall if it could never run. The sequence is then still the caller's to fail. What has
  // room in the cache does not wait, so it does not count as waiting.
  Status add(std::unique_ptr<Sequence>& sequence);
  // Takes a sequence out, waiting or running, and gives its pages back; null if there is none of that id.
  std::unique_ptr<Sequence> remove(uint64_t id);

  // Admits what fits and composes the next step; empty if there is nothing to do. Sequences whose pages could not be had are
  // failed and dropped.
  const std::vector<BatchPart>& next_step();

  size_t running() const { return running_.size(); }
  size_t waiting() const { return waiting_.size(); }
  // Every sequence there is, waiting or running, for ending them all.
  std::vector<std::unique_ptr<Sequence>> take_all();

 private:
  void admit();
  void release(Sequence& sequence);

  KvCache& cache_;
  const size_t batch_tokens_, max_queue_;
  std::deque<std::unique_ptr<Sequence>> waiting_;
  std::vector<std::unique_ptr<Sequence>> running_;  // in order of admission
  std::vector<BatchPart> step_;
};

}  // namespace infernode
