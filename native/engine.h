// One model at work: takes requests from any thread, and on the runtime's driver thread runs them step by step.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backend.h"
#include "kv_cache.h"
#include "metrics.h"
#include "request.h"
#include "scheduler.h"
#include "threading.h"
#include "tokenizer/tokenizer.h"

namespace infernode {

// Wakes the driver. Outlives the runtime, so that an engine may ring after its end.
class Signal {
 public:
  void ring();
  // Waits until somebody rang since `seen`; returns the new count.
  uint64_t wait(uint64_t seen);
  // … or until that time.
  uint64_t wait(uint64_t seen, std::chrono::steady_clock::time_point until);

 private:
  Mutex mutex_;
  Condition condition_;
  uint64_t count_ = 0;
};

struct EngineOptions {
  int threads = 1;         // of a step that generates: a token of each sequence
  int prompt_threads = 0;  // of one that computes more of any; 0: as many
  size_t cache_tokens = 0;
  size_t batch_tokens = 512;
  size_t max_queue = 1024;
  TensorType kv_type = TensorType::kF16;
  bool keep_prefixes = true;  // keep computed pages after use, and share them
  bool map_files = true;
  std::string isa;  // empty: the best
  uint64_t max_memory = 0;  // bytes that loading may reserve, see Limits::memory; 0: any
};

struct EngineStats {
  MemoryUse memory;
  size_t kv_used_bytes;
  // Of total_pages: those that a request can have, those of them that are kept for their content, those that more than one holds.
  size_t total_pages, free_pages, kept_pages, shared_pages;
  uint64_t evicted_pages;
  size_t running, waiting;
  // Since the model was loaded. Cached tokens were found in the cache instead of computed.
  uint64_t computed_tokens, cached_tokens, generated_tokens, preemptions, requests, steps;
  double mean_batch;
  size_t largest_batch;
  Metrics::Rates rates;
  Percentiles first_token, token_gap;
};

// A part of a step run by hand: tokens that follow what the numbered sequence has.
struct EvaluatePart {
  int64_t sequence;
  std::vector<int32_t> tokens;
  // Positions that the sequence may come to have; looked at when it begins, and never less than the tokens it begins with.
  size_t longest = 0;
};

struct NamedRows {
  std::string name;
  size_t rows, width;
  Array<float> data;
};

class Engine {
 public:
  static Result<std::shared_ptr<Engine>> make(std::shared_ptr<const Plan> plan, std::shared_ptr<const Tokenizer> tokenizer,
                                              const EngineOptions& options, MappingRegistry& mappings, std::shared_ptr<Signal> signal);

  // From any thread. A request's prompt is ids by now; an error means that the sink was not called and never will be.
  // Ids of that many requests, in a row: the first of them.
  uint64_t new_id(uint64_t n = 1) { return next_id_.fetch_add(n); }
  // `cancelled` is set before cancel() is called: a request that is still on its way is then cancelled when it arrives.
  using CancelFlag = std::shared_ptr<const std::atomic<bool>>;
  Status submit(uint64_t id, std::vector<int32_t> prompt, const RequestOptions& options, std::shared_ptr<RequestSink> sink,
                CancelFlag cancelled);
  Status score(uint64_t id, std::vector<int32_t> tokens, std::shared_ptr<ScoreSink> sink, CancelFlag cancelled,
               const Terms& terms = {});
  void cancel(uint64_t id);
  // All requests end with kDisposed, memory is freed, then `closed` is called (driver thread, or at once if closed before).
  void close(std::function<void()> closed = nullptr);
  // Nobody waits for the running step any more.
  void abandon();

  // On the driver thread.
  // Runs one step. True: there is more to do.
  bool step(ThreadPool& pool);
  bool closing() const { return closing_.load(); }
  void finish_closing();
  Result<std::vector<NamedRows>> evaluate(const std::vector<EvaluatePart>& parts, const std::map<std::string, Array<float>>& inputs,
                                          ThreadPool& pool);
  void forget(int64_t sequence);
  // Records what threads do in steps from now on; what was recorded, null if nothing was asked for.
  Status start_profile(size_t max_events);
  std::unique_ptr<Profile> stop_profile();

  EngineStats stats();
  // Told of every step from now on, on the driver's thread; null: nobody.
  void watch_steps(std::function<void(const StepReport&)> watcher);
  const Plan& plan() const { return *plan_; }
  const EngineOptions& options() const { return options_; }
  // The most threads that a step runs on.
  int most_threads() const { return std::max(options_.threads, options_.prompt_threads); }
  const std::shared_ptr<const Tokenizer>& tokenizer() const { return tokenizer_; }
  const char* isa() const { return isa_; }
  const char* backend_name() const { return backend_name_; }
  const MemoryUse& memory_use() const { return memory_; }
  const std::shared_ptr<Signal>& signal() const { return signal_; }
  // The most tokens that a prompt and its answer may have.
  size_t context_length() const { return std::min<size_t>(plan_->context_length, options_.cache_tokens); }

 private:
  Engine(std::shared_ptr<const Plan> plan, std::shared_ptr<const Tokenizer> tokenizer, const EngineOptions& options,
         std::shared_ptr<Signal> signal);

  Status check_tokens(const std::vector<int32_t>& tokens) const;
  Status enqueue(std::unique_ptr<Sequence> sequence, CancelFlag cancelled);
  void take_inbox();
  void compose(const std::vector<BatchPart>& parts);

  // Threads of the composed step.
  int step_threads() const;
  Status run(ThreadPool& pool);
  Status examine_outputs(ThreadPool& pool);

  // A row of the batch whose logits somebody wants.
  struct OutputRow {
    Sequence* sequence;
    size_t position;
  };

  const std::shared_ptr<const Plan> plan_;
  const std::shared_ptr<const Tokenizer> tokenizer_;
  const EngineOptions options_;
  const std::shared_ptr<Signal> signal_;
  std::unique_ptr<Executable> executable_;  // null when closed for good; then only with inbox_mutex_
  const char *isa_ = "", *backend_name_ = "";
  MemoryUse memory_{};
  std::atomic<uint64_t> next_id_{1}, computed_tokens_{0};
  uint64_t requests_ = 0, generated_tokens_ = 0;  // the driver's
  std::atomic<bool> closing_{false};

  // Written by any thread, emptied by the driver.
  Mutex inbox_mutex_;
  std::vector<std::unique_ptr<Sequence>> arrived_;
  std::vector<uint64_t> cancelled_;
  std::vector<std::function<void()>> closed_;
  bool closed_for_good_ = false;

  // The driver's own.
  KvCache cache_;
  Scheduler scheduler_;
  struct Manual {
    size_t computed = 0, longest = 0;  // positions
    BlockTables tables;
  };
  std::map<int64_t, Manual> manual_;  // sequences of evaluate
  // Of the running step.
  std::vector<int32_t> tokens_, positions_, output_rows_;
  std::vector<StepSequence> sequences_;
  std::vector<OutputRow> outputs_;

  Mutex stats_mutex_;
  EngineStats stats_{};
  Metrics metrics_;
  std::function<void(const StepReport&)> watcher_;
  void publish_stats();
  void measure(const std::vector<BatchPart>& parts, double ms);
};

}  // namespace infernode
