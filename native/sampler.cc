// Sampling in integers: a token's weight is e^((logit - largest) / temperature), its mass that weight in units of 2^-40. Sums of
// masses are exact, so they come out the same in any order, which lets filters select instead of sort: time is linear in the
// vocabulary. What rounds to nothing is less than 2^-41 as probable as the best token.
#include "sampler.h"

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "exp_log.h"
#include "random.h"

namespace infernode {

namespace {

constexpr size_t kLargestVocabulary = size_t{1} << 23;  // so that a sum of masses fits 64 bits
constexpr uint32_t kListed = uint32_t{1} << 31;         // in counts_: the token is in distinct_
constexpr float kLeastWeight = 0x1p-41f;                // the mass of anything below is 0
constexpr int32_t kFewTokens = 1024;                    // a top_k up to this is selected before any weight is computed

// 2^52 + x has x, rounded to an integer, in its low bits: unlike a conversion, this is vector code on every x86.
constexpr double kUnits = 0x1p40;
constexpr double kToInteger = 0x1p52;
constexpr uint64_t kToIntegerBits = std::bit_cast<uint64_t>(kToInteger);
inline uint64_t mass_bits(float weight) { return std::bit_cast<uint64_t>(static_cast<double>(weight) * kUnits + kToInteger); }
inline uint64_t mass_of(float weight) { return mass_bits(weight) - kToIntegerBits; }

// Of the tokens whose weight is at least `threshold`.
struct Share {
  uint64_t mass;
  size_t n;
};

Share share_above(const float* weights, size_t n, float threshold) {
  uint64_t bits = 0;
  uint32_t count = 0;
  for (size_t i = 0; i < n; i++) {
    const float weight = weights[i] >= threshold ? weights[i] : 0.0f;
    bits += mass_bits(weight);
    count += weights[i] >= threshold;
  }
  return {bits - n * kToIntegerBits, count};
}

// A denormal temperature has no finite inverse; the largest number does the same work: 0 times it is 0, all else vanishes.
float scale_of(float temperature) { return std::min(1.0f / temperature, FLT_MAX); }

// Overwrites logits with weights and returns their mass.
uint64_t to_weights(float* logits, size_t n, float largest, float temperature) {
  const float scale = scale_of(temperature);
  uint64_t mass = 0;
  constexpr size_t kBlock = 2048;
  for (size_t begin = 0; begin < n; begin += kBlock) {
    const size_t end = std::min(n, begin + kBlock);
    for (size_t i = begin; i < end; i++) logits[i] = exp_of_negative((logits[i] - largest) * scale);
    mass += share_above(logits + begin, end - begin, 0).mass;
  }
  return mass;
}

// Adding one to an exponent of all ones overflows into the sign.
bool all_finite(const float* x, size_t n) {
  uint32_t overflow = 0;
  for (size_t i = 0; i < n; i++) overflow |= (std::bit_cast<uint32_t>(x[i]) & 0x7f800000u) + 0x00800000u;
  return !(overflow & 0x80000000u);
}

Error not_finite(uint64_t position) { return error(ErrorCode::kLogitsNotFinite, {std::to_string(position)}); }

// Penalties and biases are finite, but with large ones a logit may leave f32; only a bias of -infinity may forbid a token.
float to_logit(double x) { return std::isinf(x) ? static_cast<float>(x) : static_cast<float>(std::clamp<double>(x, -FLT_MAX, FLT_MAX)); }

// A place below `mass`, for a draw in [0, 1).
uint64_t place(double draw, uint64_t mass) { return std::min(static_cast<uint64_t>(draw * static_cast<double>(mass)), mass - 1); }

// The least mass that is at least the fraction p of `total`.
uint64_t needed(float p, uint64_t total) {
  return std::clamp<uint64_t>(static_cast<uint64_t>(std::ceil(double{p} * static_cast<double>(total))), 1, total);
}

// The largest of a few thresholds whose share is enough, or that of all tokens that have any mass.
template <class Enough>
float threshold_for(const float* weights, size_t n, Enough enough) {
  for (const float threshold : {0x1p-4f, 0x1p-8f, 0x1p-14f, 0x1p-22f})
    if (enough(share_above(weights, n, threshold))) return threshold;
  return kLeastWeight;
}

// The first token, by id, at which the running sum of masses exceeds `at`.
int32_t token_at(const float* weights, size_t n, uint64_t at) {
  constexpr size_t kBlock = 512;
  size_t begin = 0;
  for (; begin + kBlock < n; begin += kBlock) {
    const uint64_t mass = share_above(weights + begin, kBlock, 0).mass;
    if (at < mass) break;
    at -= mass;
  }
  size_t i = begin;
  for (; i + 1 < n; i++) {
    const uint64_t mass = mass_of(weights[i]);
    if (at < mass) break;
    at -= mass;
  }
  return static_cast<int32_t>(i);
}

std::string shown(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.9g", value);
  return text;
}

Status check(bool valid, const char* name, const char* expected, double received) {
  if (valid) return {};
  return error(ErrorCode::kInvalidArgument, {name, expected, shown(received)});
}

Status check_options(const SamplingOptions& o, size_t vocab_size) {
  const double size = static_cast<double>(vocab_size);
  INFERNODE_TRY(check(vocab_size > 0 && vocab_size <= kLargestVocabulary, "vocabSize", "1 to 8388608", size));
  INFERNODE_TRY(check(std::isfinite(o.temperature) && o.temperature >= 0, "temperature", "a number of at least 0", o.temperature));
  INFERNODE_TRY(check(o.top_k >= 0, "topK", "an integer of at least 0", o.top_k));
  INFERNODE_TRY(check(o.top_p > 0 && o.top_p <= 1, "topP", "a number above 0, at most 1", o.top_p));
  INFERNODE_TRY(check(o.min_p >= 0 && o.min_p <= 1, "minP", "a number from 0 to 1", o.min_p));
  INFERNODE_TRY(check(o.typical_p > 0 && o.typical_p <= 1, "typicalP", "a number above 0, at most 1", o.typical_p));
  INFERNODE_TRY(check(std::isfinite(o.repetition_penalty) && o.repetition_penalty > 0, "repetitionPenalty", "a number above 0",
                      o.repetition_penalty));
  INFERNODE_TRY(check(std::isfinite(o.presence_penalty), "presencePenalty", "a finite number", o.presence_penalty));
  INFERNODE_TRY(check(std::isfinite(o.frequency_penalty), "frequencyPenalty", "a finite number", o.frequency_penalty));
  INFERNODE_TRY(check(o.logprobs >= -1 && o.logprobs <= static_cast<int64_t>(vocab_size), "logprobs",
                      "-1, or an integer from 0 to the size of the vocabulary", o.logprobs));
  std::vector<int32_t> forbidden;
  for (const auto& [id, bias] : o.logit_bias) {
    if (id < 0 || static_cast<size_t>(id) >= vocab_size)
      return error(ErrorCode::kTokenUnknown, {std::to_string(id), std::to_string(vocab_size)});
    INFERNODE_TRY(check(bias < HUGE_VALF, "logitBias", "finite numbers or -Infinity", bias));  // not NaN either
    if (std::isinf(bias)) forbidden.push_back(id);
  }
  std::sort(forbidden.begin(), forbidden.end());
  const auto n_forbidden = std::unique(forbidden.begin(), forbidden.end()) - forbidden.begin();
  if (static_cast<size_t>(n_forbidden) == vocab_size)
    return error(ErrorCode::kInvalidArgument, {"logitBias", "at least one token that is not forbidden", "-Infinity for all of them"});
  return {};
}

// The n largest logits, best first. A heap of the best so far, the worst of them on top: nearly every token fails one comparison.
std::vector<std::pair<int32_t, float>> best_tokens(const float* logits, size_t vocab_size, size_t n) {
  using Entry = std::pair<int32_t, float>;
  const auto better = [](const Entry& a, const Entry& b) { return a.second > b.second || (a.second == b.second && a.first < b.first); };
  std::vector<Entry> best;
  if (n == 0) return best;
  best.reserve(n);
  for (size_t i = 0; i < vocab_size; i++) {
    if (best.size() == n && !(logits[i] > best.front().second)) continue;  // an equal one has a higher id
    if (best.size() == n) {
      std::pop_heap(best.begin(), best.end(), better);
      best.pop_back();
    }
    best.emplace_back(static_cast<int32_t>(i), logits[i]);
    std::push_heap(best.begin(), best.end(), better);
  }
  std::sort_heap(best.begin(), best.end(), better);
  return best;
}

}  // namespace

Result<Sampler> Sampler::make(const SamplingOptions& options, size_t vocab_size) {
  INFERNODE_TRY(check_options(options, vocab_size));
  Sampler sampler;
  sampler.options_ = options;
  sampler.vocab_size_ = vocab_size;
  sampler.penalizes_ = options.repetition_penalty != 1 || options.presence_penalty != 0 || options.frequency_penalty != 0;
  if (sampler.penalizes_) {
    INFERNODE_ASSIGN(counts, Array<uint32_t>::make(vocab_size, "counts of tokens"));
    sampler.counts_ = std::move(counts);
  }
  if (options.logprobs >= 0) {
    INFERNODE_ASSIGN(raw, Array<float>::make(vocab_size, "a copy of the logits"));
    sampler.raw_ = std::move(raw);
  }
  return sampler;
}

void Sampler::accept(int32_t token) {
  if (!penalizes_ || token < 0 || static_cast<size_t>(token) >= vocab_size_) return;
  if (options_.penalty_window > 0) {
    if (recent_.size() < options_.penalty_window) {
      recent_.push_back(token);
    } else {
      counts_[static_cast<size_t>(recent_[oldest_])]--;
      recent_[oldest_] = token;
      oldest_ = (oldest_ + 1) % recent_.size();
    }
  }
  uint32_t& count = counts_[static_cast<size_t>(token)];
  if (!(count & kListed)) distinct_.push_back(token);
  count = (count | kListed) + 1;
}

void Sampler::penalize(float* logits) {
  for (size_t i = 0; i < distinct_.size();) {
    const auto token = static_cast<size_t>(distinct_[i]);
    const uint32_t n = counts_[token] & ~kListed;
    if (n == 0) {  // has left the window
      counts_[token] = 0;
      distinct_[i] = distinct_.back();
      distinct_.pop_back();
      continue;
    }
    const double x = logits[token], penalty = options_.repetition_penalty;
    logits[token] = to_logit((x > 0 ? x / penalty : x * penalty) - options_.presence_penalty - n * double{options_.frequency_penalty});
    i++;
  }
}

Result<SampledToken> Sampler::sample(float* logits, uint64_t position, const cpu::KernelTable& kernels) {
  if (!all_finite(logits, vocab_size_)) return not_finite(position);
  if (options_.logprobs >= 0) std::memcpy(raw_.data(), logits, vocab_size_ * sizeof(float));

  if (penalizes_) penalize(logits);
  for (const auto& [id, bias] : options_.logit_bias) logits[id] = to_logit(double{logits[id]} + bias);
  const cpu::RowMax largest = kernels.row_max(logits, vocab_size_);
  if (std::isinf(largest.value)) return not_finite(position);

  SampledToken sampled;
  sampled.token = static_cast<int32_t>(largest.index);
  if (options_.temperature > 0) {
    INFERNODE_ASSIGN(drawn, draw(logits, position, largest.value));
    sampled.token = drawn;
  }
  if (options_.logprobs < 0) return sampled;
  return describe_token(raw_.data(), vocab_size_, sampled.token, options_.logprobs, position, kernels);
}

Result<int32_t> Sampler::draw(float* logits, uint64_t position, float largest) {
  if (options_.top_k > 0 && options_.top_k <= kFewTokens) {
    INFERNODE_TRY(gather_best(logits, largest));
    return draw_from_candidates(position);
  }
  const uint64_t total = to_weights(logits, vocab_size_, largest, options_.temperature);
  const float* weights = logits;
  const double at = uniform(options_.seed, options_.sample, position);

  const bool top_k = options_.top_k > 0 && static_cast<size_t>(options_.top_k) < vocab_size_;
  const bool top_p = options_.top_p < 1, min_p = options_.min_p > 0, typical_p = options_.typical_p < 1;
  if (!top_k && !top_p && !min_p && !typical_p) return token_at(weights, vocab_size_, place(at, total));

  // First a rough cut that loses nothing the first filter would keep, then the filters on what is left.
  const uint64_t top_p_mass = needed(options_.top_p, total);
  float threshold = kLeastWeight;
  if (top_k) threshold = threshold_for(weights, vocab_size_, [&](const Share& s) { return s.n >= static_cast<size_t>(options_.top_k); });
  else if (top_p) threshold = threshold_for(weights, vocab_size_, [&](const Share& s) { return s.mass >= top_p_mass; });
  else if (min_p) threshold = std::max(options_.min_p, kLeastWeight);
  INFERNODE_TRY(gather(weights, threshold));

  if (top_k) {
    keep_first(static_cast<size_t>(options_.top_k));
  } else if (top_p) {
    // Of all tokens, not of those that the rough cut has left.
    keep_mass(top_p_mass);
    return draw_from_candidates(position, true);
  }
  return draw_from_candidates(position);
}

// The filters after top_k, and the draw.
int32_t Sampler::draw_from_candidates(uint64_t position, bool top_p_done) {
  if (options_.top_p < 1 && !top_p_done) keep_mass(needed(options_.top_p, candidate_mass()));
  if (options_.min_p > 0) keep_min_p();
  if (options_.typical_p < 1) keep_typical();
  const double at = uniform(options_.seed, options_.sample, position);
  return candidates_[reach(place(at, candidate_mass()))].id;
}

Status Sampler::make_room(size_t n) {
  if (n <= candidates_.size()) return {};
  candidates_ = {};
  INFERNODE_ASSIGN(candidates, Array<Candidate>::make(std::min(std::bit_ceil(n), vocab_size_), "candidates for a token"));
  candidates_ = std::move(candidates);
  return {};
}

// The top_k tokens. Selecting them by their logits takes a comparison per token, and only k of them need a weight.
Status Sampler::gather_best(const float* logits, float largest) {
  const auto best = best_tokens(logits, vocab_size_, std::min(static_cast<size_t>(options_.top_k), vocab_size_));
  INFERNODE_TRY(make_room(best.size()));
  const float scale = scale_of(options_.temperature);
  n_candidates_ = 0;
  for (const auto& [id, logit] : best) {
    const float weight = exp_of_negative((logit - largest) * scale);
    if (weight >= kLeastWeight) candidates_[n_candidates_++] = {-weight, id, mass_of(weight)};
  }
  return {};
}

Status Sampler::gather(const float* weights, float threshold) {
  INFERNODE_TRY(make_room(share_above(weights, vocab_size_, threshold).n));
  n_candidates_ = 0;
  for (size_t i = 0; i < vocab_size_; i++)
    if (weights[i] >= threshold) candidates_[n_candidates_++] = {-weights[i], static_cast<int32_t>(i), mass_of(weights[i])};
  return {};
}

uint64_t Sampler::candidate_mass() const {
  uint64_t mass = 0;
  for (size_t i = 0; i < n_candidates_; i++) mass += candidates_[i].mass;
  return mass;
}

void Sampler::keep_first(size_t n) {
  if (n >= n_candidates_) return;
  std::nth_element(candidates_.begin(), candidates_.begin() + n, candidates_.begin() + n_candidates_, before);
  n_candidates_ = n;
}

// The first candidates that together have at least this mass.
void Sampler::keep_mass(uint64_t mass) { n_candidates_ = reach(mass - 1) + 1; }

void Sampler::keep_min_p() {
  Candidate* const end = std::remove_if(candidates_.begin(), candidates_.begin() + n_candidates_,
                                        [least = options_.min_p](const Candidate& c) { return -c.key < least; });
  n_candidates_ = static_cast<size_t>(end - candidates_.begin());
}

// A token's surprise is -ln p = ln Z - ln w, its expectation ln Z - mean(ln w): their distance needs no Z.
// The mean is summed in units of 2^-44, again so that the order does not matter.
void Sampler::keep_typical() {
  const uint64_t total = candidate_mass();
  const auto log_weight = [](const Candidate& c) { return natural_log(double{-c.key}); };
  int64_t sum = 0;
  for (size_t i = 0; i < n_candidates_; i++) {
    const double p = static_cast<double>(candidates_[i].mass) / static_cast<double>(total);
    sum += static_cast<int64_t>(p * log_weight(candidates_[i]) * 0x1p44);
  }
  const double mean = static_cast<double>(sum) * 0x1p-44;
  for (size_t i = 0; i < n_candidates_; i++) candidates_[i].key = static_cast<float>(std::abs(log_weight(candidates_[i]) - mean));
  keep_mass(needed(options_.typical_p, total));
}

// In the order of before(): the first candidate at which the running sum exceeds `mass`. Puts it and those before it in front.
// Halves the range that holds it until the rest is small enough to sort: linear in all.
size_t Sampler::reach(uint64_t mass) {
  constexpr size_t kSmall = 32;
  Candidate *low = candidates_.begin(), *high = low + n_candidates_;
  while (static_cast<size_t>(high - low) > kSmall) {
    Candidate* const middle = low + (high - low) / 2;
    std::nth_element(low, middle, high, before);
    uint64_t first_half = 0;
    for (const Candidate* c = low; c < middle; c++) first_half += c->mass;
    if (mass < first_half) {
      high = middle;
    } else {
      mass -= first_half;
      low = middle;
    }
  }
  std::sort(low, high, before);
  for (; low + 1 < high && mass >= low->mass; low++) mass -= low->mass;
  return static_cast<size_t>(low - candidates_.begin());
}

Result<SampledToken> describe_token(const float* logits, size_t vocab_size, int32_t token, int32_t n_top, uint64_t position,
                                    const cpu::KernelTable& kernels) {
  if (!all_finite(logits, vocab_size)) return not_finite(position);
  const double largest = kernels.row_max(logits, vocab_size).value;
  const double log_sum = natural_log(kernels.exp_sum(logits, vocab_size, static_cast<float>(largest)));
  const auto logprob = [&](float logit) { return static_cast<float>((logit - largest) - log_sum); };
  SampledToken described;
  described.token = token;
  described.logprob = logprob(logits[token]);
  described.top = best_tokens(logits, vocab_size, static_cast<size_t>(std::clamp<int64_t>(n_top, 0, static_cast<int64_t>(vocab_size))));
  for (auto& [id, value] : described.top) value = logprob(value);
  return described;
}

}  // namespace infernode
