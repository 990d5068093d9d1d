// From a row of logits to a token: penalties, bias, temperature, filters, the draw, and log-probabilities.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "array.h"
#include "cpu/kernels/kernels.h"
#include "result.h"

namespace infernode {

// In the order in which they apply; every default leaves the model's distribution alone, but for temperature 0: greedy.
struct SamplingOptions {
  // Penalties look at all tokens so far, prompt included, or at the latest `penalty_window` of them (0: all).
  // repetition: a logit above 0 is divided by it, one below is multiplied, once per distinct token (arXiv:1909.05858 §4.1).
  // presence, frequency: subtracted once per distinct token, and once per occurrence, as the OpenAI API defines them.
  float repetition_penalty = 1;  // > 0
  float presence_penalty = 0;
  float frequency_penalty = 0;
  uint32_t penalty_window = 0;
  // Added to the logits of these tokens; -Infinity forbids a token. Entries of the same token add up.
  std::vector<std::pair<int32_t, float>> logit_bias;
  // 0: the largest logit wins, of equal ones that of the lower id; what follows does not matter. Else logits are divided by it.
  float temperature = 0;
  // Filters in the order of Hugging Face transformers. Each sees the renormalized distribution that the one before has left,
  // keeps at least one token, and prefers the lower id among equals.
  int32_t top_k = 0;    // the k most probable; 0: off
  float top_p = 1;      // the fewest most probable tokens that hold this much probability, (0, 1]; arXiv:1904.09751 §3.1
  float min_p = 0;      // those at least this much as probable as the most probable, [0, 1]; arXiv:2407.01082
  float typical_p = 1;  // the fewest that hold this much, those of the most expected surprise first, (0, 1]; arXiv:2202.00666
  // The draw is a function of these two and the position only: see random.h.
  uint64_t seed = 0;
  uint32_t sample = 0;
  // -1: none. n: the token's log-probability, and the n best tokens with theirs. Of the model's own distribution: before
  // penalties, bias, temperature and filters, so that they can be compared between requests.
  int32_t logprobs = -1;
};

struct SampledToken {
  int32_t token = -1;
  float logprob = 0;                           // natural logarithm; 0 unless asked for
  std::vector<std::pair<int32_t, float>> top;  // (token, logprob), best first, of equals the lower id first
};

// One per sequence. No call allocates once the buffers have grown.
class Sampler {
 public:
  // INVALID_ARGUMENT or TOKEN_UNKNOWN for options that make no sense; OUT_OF_MEMORY.
  static Result<Sampler> make(const SamplingOptions& options, size_t vocab_size);

  // A token of the prompt, or one generated before: what penalties look at. Ids outside the vocabulary do not count.
  void accept(int32_t token);

  // logits: [vocab_size], overwritten. LOGITS_NOT_FINITE if the model computed NaN or an infinity.
  // The same logits give the same token on every machine and ISA variant.
  Result<SampledToken> sample(float* logits, uint64_t position, const cpu::KernelTable& kernels);

 private:
  // A token that filters have left so far. The order is by key, then by id.
  struct Candidate {
    float key;
    int32_t id;
    uint64_t mass;
  };
  static bool before(const Candidate& a, const Candidate& b) { return a.key < b.key || (a.key == b.key && a.id < b.id); }

  void penalize(float* logits);
  Result<int32_t> draw(float* logits, uint64_t position, float largest);
  int32_t draw_from_candidates(uint64_t position, bool top_p_done = false);
  Status make_room(size_t n);
  Status gather(const float* weights, float threshold);
  Status gather_best(const float* logits, float largest);
  void keep_first(size_t n);
  void keep_mass(uint64_t mass);
  void keep_min_p();
  void keep_typical();
  uint64_t candidate_mass() const;
  size_t reach(uint64_t mass);

  SamplingOptions options_;
  size_t vocab_size_ = 0;
  Array<float> raw_;  // the model's own logits, if log-probabilities of them are asked for
  Array<Candidate> candidates_;
  size_t n_candidates_ = 0;

  // For the penalties: how often each token occurs in the window, with a mark for those that `distinct_` lists.
  bool penalizes_ = false;
  Array<uint32_t> counts_;
  std::vector<int32_t> distinct_;
  std::vector<int32_t> recent_;  // a ring of penalty_window tokens, if there is a window
  size_t oldest_ = 0;
};

// What the model's own distribution says of `token`, with its n_top best tokens (0: none). logits: [vocab_size], not changed.
// LOGITS_NOT_FINITE as above.
Result<SampledToken> describe_token(const float* logits, size_t vocab_size, int32_t token, int32_t n_top, uint64_t position,
                                    const cpu::KernelTable& kernels);

}  // namespace infernode
