// What happens to a sequence's logits: sampling, stop rules and text for a generation; log-probabilities for a score.
#include "sequence.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace infernode {

namespace {

double milliseconds(std::chrono::steady_clock::duration d) { return std::chrono::duration<double, std::milli>(d).count(); }

}  // namespace

Result<std::unique_ptr<Generation>> Generation::make(uint64_t id, std::vector<int32_t> tokens, const RequestOptions& options,
                                                     size_t vocab_size, std::shared_ptr<const Tokenizer> tokenizer,
                                                     std::shared_ptr<RequestSink> sink) {
  if (!options.stop.empty() && !tokenizer)
    return error(ErrorCode::kInvalidArgument, {"stop", "stop tokens, as the checkpoint has no tokenizer", "stop strings"});
  INFERNODE_ASSIGN(sampler, Sampler::make(options.sampling, vocab_size));
  std::unique_ptr<Generation> self(new Generation(id, std::move(tokens), std::move(sampler), std::move(sink)));
  self->tokenizer_ = std::move(tokenizer);
  self->stop_ = StopMatcher(options.stop);
  self->stop_tokens_ = options.stop_tokens;
  std::sort(self->stop_tokens_.begin(), self->stop_tokens_.end());
  self->max_tokens_ = options.max_tokens;
  self->logprobs_ = options.sampling.logprobs;
  self->echo_ = options.echo;
  self->replay_ = std::min<size_t>(options.replay, self->n_prompt_);
  self->terms = options.terms;
  if (self->echo_ && self->logprobs_ >= 0) self->prompt_scores_.resize(self->n_prompt_);
  for (int32_t token : self->tokens_) self->sampler_.accept(token);
  self->result_.prompt_tokens = self->n_prompt_;
  return self;
}

void Generation::start() {
  started_ = first_token_ = Clock::now();
  result_.queued_ms = milliseconds(started_ - submitted_);
  if (!tokenizer_) return;
  detokenizer_.emplace(tokenizer_);
  if (echo_) return;
  // The end of the prompt may be the beginning of the answer: its text was told, but a stop string may have begun in it.
  const auto answer = tokens_.end() - static_cast<std::ptrdiff_t>(replay_);
  detokenizer_->continue_after({tokens_.begin(), answer});
  std::string text, told;
  for (auto token = answer; token != tokens_.end(); token++) detokenizer_->push(*token, text);
  stop_.push(text, told);
}

bool Generation::wants_logits(size_t position) const {
  if (position + 1 == tokens_.size()) return max_tokens_ > 0;
  return !prompt_scores_.empty() && position >= examined_ && position + 1 < n_prompt_;
}

size_t Generation::first_wanted() const {
  const size_t last = tokens_.size() - 1;
  return prompt_scores_.empty() ? last : std::min(examined_, last);
}

void Generation::examine(size_t position, float* logits, size_t vocab_size, const cpu::KernelTable& kernels) {
  if (position + 1 < n_prompt_) {
    if (auto score = describe_token(logits, vocab_size, tokens_[position + 1], logprobs_, position, kernels))
      prompt_scores_[position] = std::move(*score);
    return;
  }
  sampled_ = sampler_.sample(logits, position, kernels);
}

bool Generation::advance(size_t n) {
  computed_ += n;
  examined_ = std::max(examined_, computed_);
  if (pending() > 0) return true;  // the prompt goes on in the next step
  if (computed_ == n_prompt_) {
    first_token_ = Clock::now();
    result_.cached_tokens = cached_;
    if (echo_) echo_prompt();
    if (max_tokens_ == 0) {
      finish(FinishReason::kLength);
      return false;
    }
  }
  const std::optional<Result<SampledToken>> sampled = std::exchange(sampled_, std::nullopt);
  if (sampled && *sampled) {
    take(**sampled);
  } else {
    events_.error = sampled ? sampled->error() : error(ErrorCode::kInternal, {"a step gave no logits"});
    ended_ = true;
  }
  return !ended_;
}

void Generation::flush() {
  if (!events_.tokens.empty() || events_.done || events_.error) sink_->deliver(std::exchange(events_, {}));
}

void Generation::echo_prompt() {
  for (size_t i = 0; i < n_prompt_; i++) {
    TokenEvent event;
    event.token = tokens_[i];
    event.echo = true;
    if (detokenizer_) detokenizer_->push(tokens_[i], event.text);
    if (i > 0 && !prompt_scores_.empty() && prompt_scores_[i - 1]) {
      event.has_logprob = true;
      event.logprob = prompt_scores_[i - 1]->logprob;
      event.top = std::move(prompt_scores_[i - 1]->top);
    }
    events_.tokens.push_back(std::move(event));
  }
}

void Generation::take(const SampledToken& sampled) {
  if (std::binary_search(stop_tokens_.begin(), stop_tokens_.end(), sampled.token)) {
    // The token that ends a text is not part of it.
    result_.stop_token = sampled.token;
    return finish(FinishReason::kStop);
  }
  result_.generated_tokens++;
  const Clock::time_point now = Clock::now();
  if (result_.generated_tokens == 1) first_token_ms = milliseconds(now - submitted_);
  else token_gap_ms = milliseconds(now - last_token_);
  last_token_ = now;
  TokenEvent event;
  event.token = sampled.token;
  event.has_logprob = logprobs_ >= 0;
  event.logprob = sampled.logprob;
  event.top = sampled.top;
  if (detokenizer_) {
    std::string text;
    detokenizer_->push(sampled.token, text);
    result_.stop_string = stop_.push(text, event.text);
  }
  events_.tokens.push_back(std::move(event));
  if (result_.stop_string >= 0) return finish(FinishReason::kStop);
  if (result_.generated_tokens >= max_tokens_) return finish(FinishReason::kLength);
  tokens_.push_back(sampled.token);
  sampler_.accept(sampled.token);
}

void Generation::finish(FinishReason reason) {
  ended_ = true;
  if (detokenizer_ && result_.stop_string < 0) {
    // Bytes that wait for the rest of a character, then text that waited for the rest of a stop string.
    std::string held;
    detokenizer_->finish(held);
    if (stop_.push(held, events_.tail) < 0) stop_.finish(events_.tail);
  }
  result_.finish_reason = reason;
  result_.prompt_ms = milliseconds(first_token_ - started_);
  result_.generation_ms = milliseconds(Clock::now() - first_token_);
  events_.done = result_;
}

void Generation::fail(const Error& error) {
  events_.error = error;
  flush();
}

void Generation::cancel() {
  if (started_ == Clock::time_point{}) started_ = first_token_ = Clock::now();
  finish(FinishReason::kAborted);
  flush();
}

void Generation::expire() {
  fail(error(ErrorCode::kTimedOut,
             {std::to_string(terms.timeout_ms), std::to_string(std::min(examined_, n_prompt_)), std::to_string(n_prompt_),
              std::to_string(result_.generated_tokens), std::to_string(max_tokens_)}));
}

void Scoring::examine(size_t position, float* logits, size_t vocab_size, const cpu::KernelTable& kernels) {
  auto score = describe_token(logits, vocab_size, tokens_[position + 1], 0, position, kernels);
  // A token that the model calls impossible has -Infinity; logits that are no numbers are found when all are there.
  logprobs_[position] = score ? score->logprob : std::nanf("");
}

bool Scoring::advance(size_t n) {
  computed_ += n;
  examined_ = std::max(examined_, computed_);
  return pending() > 0;
}

void Scoring::flush() {
  if (pending() > 0) return;
  for (size_t i = 0; i < logprobs_.size(); i++)
    if (std::isnan(logprobs_[i])) return sink_->deliver(error(ErrorCode::kLogitsNotFinite, {std::to_string(i)}));
  sink_->deliver(std::move(logprobs_));
}

void Scoring::fail(const Error& error) { sink_->deliver(Error(error)); }
void Scoring::expire() {
  fail(error(ErrorCode::kTimedOut,
             {std::to_string(terms.timeout_ms), std::to_string(examined_), std::to_string(n_prompt_), "0", "0"}));
}

void Scoring::cancel() { sink_->deliver(error(ErrorCode::kAborted, {"The score"})); }

}  // namespace infernode
