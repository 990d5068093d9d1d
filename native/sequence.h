// One stream of tokens through the model, and what its logits are for: generating text, or scoring a text that exists.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "detokenizer.h"
#include "kv_cache.h"
#include "request.h"
#include "sampler.h"
#include "stop.h"
#include "tokenizer/tokenizer.h"

namespace infernode {

class Sequence {
 public:
  using Clock = std::chrono::steady_clock;

  Sequence(uint64_t id, std::vector<int32_t> tokens) : id_(id), tokens_(std::move(tokens)), n_prompt_(tokens_.size()) {}
  virtual ~Sequence() = default;

  uint64_t id() const { return id_; }
  const std::vector<int32_t>& tokens() const { return tokens_; }
  size_t n_prompt() const { return n_prompt_; }
  // Positions whose keys and values are in the cache; the tokens after them wait for a step.
  size_t computed() const { return computed_; }
  size_t pending() const { return tokens_.size() - computed_; }
  // Positions up to `computed` were found in the cache.
  void skip_to(size_t computed) {
    if (!set_back) cached_ += computed - computed_;
    computed_ = computed;
  }
  // Its pages are gone: what it had is to be computed again, and tells nobody anything new.
  void begin_again() {
    set_back = true;
    computed_ = 0;
  }
  // Most positions it can ever have in the cache.
  virtual size_t capacity() const = 0;

  virtual bool wants_logits(size_t position) const = 0;
  // No position before this one has to be computed if its keys and values are in the cache. Below tokens().size().
  virtual size_t first_wanted() const = 0;
  // Looks at the logits [vocab] after `position`, which may be overwritten. Several threads call it, for different positions.
  virtual void examine(size_t position, float* logits, size_t vocab_size, const cpu::KernelTable& kernels) = 0;
  // A step computed `n` more positions and examined what was wanted. False: it is finished. flush() tells the news.
  virtual bool advance(size_t n) = 0;
  // Tells the sink what advance() brought; a finished sequence has left the scheduler by then, and its pages are free.
  virtual void flush() = 0;
  // It left the waiting line.
  virtual void start() {}
  // Ends it early; tells its sink.
  virtual void fail(const Error& error) = 0;
  virtual void cancel() = 0;

  // Its time is over; says how far it came.
  virtual void expire() = 0;

  // Set by whoever cancels, perhaps before the sequence has reached the engine.
  std::shared_ptr<const std::atomic<bool>> cancelled;
  Terms terms;

  // The scheduler's and the cache's notes.
  BlockTables tables;
  uint64_t arrival = 0, last_turn = 0;
  uint32_t passed = 0;    // how often a later one went first
  bool runs = false;
  bool stalled = false;   // in the last step there were no pages for it
  bool set_back = false;  // it ran, and was sent back to wait

  // What the latest advance() has to tell statistics, in milliseconds; negative: nothing.
  double first_token_ms = -1, token_gap_ms = -1;

 protected:
  uint64_t id_;
  std::vector<int32_t> tokens_;
  size_t n_prompt_;
  size_t computed_ = 0;
  size_t cached_ = 0;   // prompt positions that were never computed for it
  size_t examined_ = 0;  // positions whose logits were seen
};

class Generation final : public Sequence {
 public:
  // `tokens` is the prompt, not empty; `options.ids` and `text` are not looked at any more. The tokenizer may be null: then
  // events carry ids only, and stop strings are refused.
  static Result<std::unique_ptr<Generation>> make(uint64_t id, std::vector<int32_t> tokens, const RequestOptions& options,
                                                  size_t vocab_size, std::shared_ptr<const Tokenizer> tokenizer,
                                                  std::shared_ptr<RequestSink> sink);

  size_t capacity() const override { return n_prompt_ + max_tokens_; }
  bool wants_logits(size_t position) const override;
  size_t first_wanted() const override;
  void examine(size_t position, float* logits, size_t vocab_size, const cpu::KernelTable& kernels) override;
  bool advance(size_t n) override;
  void flush() override;
  void start() override;
  void fail(const Error& error) override;
  void cancel() override;
  void expire() override;

 private:
  Generation(uint64_t id, std::vector<int32_t> tokens, Sampler sampler, std::shared_ptr<RequestSink> sink)
      : Sequence(id, std::move(tokens)), sampler_(std::move(sampler)), sink_(std::move(sink)) {}

  void echo_prompt();
  // Takes the sampled token in; it may be the last one.
  void take(const SampledToken& sampled);
  void finish(FinishReason reason);

  std::shared_ptr<const Tokenizer> tokenizer_;
  std::optional<Detokenizer> detokenizer_;
  Sampler sampler_;
  StopMatcher stop_{{}};
  std::shared_ptr<RequestSink> sink_;
  std::vector<int32_t> stop_tokens_;  // sorted
  uint32_t max_tokens_ = 0;
  size_t replay_ = 0;
  int32_t logprobs_ = -1;
  bool echo_ = false;
  bool ended_ = false;
  RequestEvents events_;  // not told yet

  std::optional<Result<SampledToken>> sampled_;             // of the latest position, from examine to advance
  std::vector<std::optional<SampledToken>> prompt_scores_;  // [position] of the token after it, for echo with logprobs
  RequestResult result_;
  Clock::time_point submitted_ = Clock::now(), started_, first_token_, last_token_;
};

// ln p of each token after the first.
class Scoring final : public Sequence {
 public:
  Scoring(uint64_t id, std::vector<int32_t> tokens, std::shared_ptr<ScoreSink> sink)
      : Sequence(id, std::move(tokens)), sink_(std::move(sink)), logprobs_(n_prompt_ - 1) {}

  size_t capacity() const override { return n_prompt_; }
  bool wants_logits(size_t position) const override { return position >= examined_ && position + 1 < n_prompt_; }
  size_t first_wanted() const override { return std::min(examined_, n_prompt_ - 1); }
  void examine(size_t position, float* logits, size_t vocab_size, const cpu::KernelTable& kernels) override;
  bool advance(size_t n) override;
  void flush() override;
  void fail(const Error& error) override;
  void cancel() override;
  void expire() override;

 private:
  std::shared_ptr<ScoreSink> sink_;
  std::vector<float> logprobs_;
};

}  // namespace infernode
