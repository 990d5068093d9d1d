// What a backend provides. It is all that the engine knows of one: `cpu` is in cpu/backend.cc, `cuda` will be beside it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "cpu/kernels/kernels.h"
#include "mapping.h"
#include "plan.h"
#include "profile.h"
#include "result.h"
#include "thread_pool.h"

namespace infernode {

// One sequence's part of a step: rows [first_row, first_row + n_rows), at positions start, start + 1, …
struct StepSequence {
  size_t first_row;
  size_t n_rows;
  size_t start;
  // [group][position / 64] → page, or -1 where a window gave it back.
  const int32_t* const* pages;
  // Positions that it may come to have, as was said when it began: what depends on a text's length depends on this.
  size_t longest;
};

// What one step runs over: a ragged batch. Host memory, valid during the call.
struct Step {
  const int32_t* tokens;     // [n_tokens], each below the plan's vocab_size
  const int32_t* positions;  // [n_tokens]
  size_t n_tokens;           // at most Limits::batch_tokens
  const StepSequence* sequences;
  size_t n_sequences;
};

struct Limits {
  size_t batch_tokens;  // most tokens of a step
  size_t kv_pages;      // pages of the cache
  TensorType kv_type;   // f32, f16, bf16 or q8_0
  int threads = 1;      // most threads of a step
  uint64_t memory = 0;  // most bytes that loading may reserve, see MemoryUse; 0: any
};

struct MemoryUse {
  size_t weights_bytes;  // of the files' matrices, mapped or read, and of vectors converted to f32
  size_t kv_bytes;       // reserved address space; memory is taken when a page is first written
  size_t page_bytes;
  size_t scratch_bytes;
};

// A plan on a device: weights bound, cache and scratch allocated. Used by one thread at a time, except abandon().
class Executable {
 public:
  virtual ~Executable() = default;

  // Copies rows [n_tokens, width] f32 into one of the plan's inputs, for the next run_body.
  virtual void feed(size_t input, const float* rows, size_t n_tokens) = 0;
  // Copies a page of the KV cache with all that is in it.
  virtual void copy_page(int32_t from, int32_t to) = 0;
  // Runs the steps before the head. kAborted if abandon() cut it short, kOutOfMemory if scratch for this batch cannot be had.
  virtual Status run_body(const Step& step, ThreadPool& pool, int n_threads) = 0;
  // Runs the head for `n` <= max_outputs() rows of the last body's batch.
  virtual Status run_head(const Step& step, const int32_t* rows, size_t n, ThreadPool& pool, int n_threads) = 0;
  virtual size_t max_outputs() const = 0;
  // Row `row` of the logits of the last run_head, on the host, changeable until the next call; nullptr if the plan has none.
  virtual float* logits(size_t row) = 0;
  // Copies the first `n` rows of one of the plan's outputs, as the last run left them: [n, width] f32.
  virtual void read(size_t output, size_t n, float* out) = 0;

  // May be called by any thread: nobody waits for the running step any more, end it soon. It stays so.
  virtual void abandon() = 0;
  // Records what threads do, op by op, until stop_profile() returns it: at most `max_events` pieces of work.
  virtual Status start_profile(size_t max_events) = 0;
  virtual std::unique_ptr<Profile> stop_profile() = 0;
  virtual MemoryUse memory_use() const = 0;
  virtual const char* backend_name() const = 0;
  virtual const char* isa() const = 0;
  // Kernels for what the engine itself does with rows of logits on the host.
  virtual const cpu::KernelTable& host_kernels() const = 0;
};

// Loads a plan: opens its files, binds and converts weights, and reserves all memory that steps will need. `isa` is empty for the
// best variant. Fails with kMemoryLimit for more than Limits::memory, before anything is reserved.
Result<std::unique_ptr<Executable>> load_on_cpu(std::shared_ptr<const Plan> plan, MappingRegistry& mappings, bool map_files,
                                                const Limits& limits, const std::string& isa);

}  // namespace infernode
