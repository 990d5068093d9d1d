// What a caller asks of an engine, and what comes back.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "result.h"
#include "sampler.h"

namespace infernode {

// How a request stands among others.
struct Terms {
  int32_t priority = 0;     // higher goes first
  uint64_t caller = 0;      // callers of the same priority take turns
  uint32_t timeout_ms = 0;  // what `deadline` comes from, for the message
  std::optional<std::chrono::steady_clock::time_point> deadline;
};

// A prompt is text, or token ids where `is_text` is false. Defaults and units: src/generate.ts.
struct RequestOptions {
  bool is_text = false;
  std::string text;
  std::vector<int32_t> ids;
  bool add_special = true;
  bool parse_special = false;
  // More than the cache can ever hold is an error where somebody asked for so many; else the cache's end ends the text.
  uint32_t max_tokens = 0;
  bool max_tokens_asked = true;
  SamplingOptions sampling;
  std::vector<std::string> stop;
  std::vector<int32_t> stop_tokens;
  bool echo = false;
  // So many of the prompt's last tokens are the beginning of the answer, whose text was told before.
  uint32_t replay = 0;
  Terms terms;
};

struct TokenEvent {
  std::string text;  // whole characters that became final with this token; may be empty
  int32_t token = 0;
  bool has_logprob = false;
  float logprob = 0;
  std::vector<std::pair<int32_t, float>> top;
  bool echo = false;  // of the prompt
};

enum class FinishReason : uint8_t { kStop, kLength, kAborted };

struct RequestResult {
  FinishReason finish_reason = FinishReason::kLength;
  int32_t stop_token = -1;  // the token that ended it, or
  int32_t stop_string = -1;  // the index of the stop string
  size_t prompt_tokens = 0;
  size_t generated_tokens = 0;
  size_t cached_tokens = 0;
  double queued_ms = 0, prompt_ms = 0, generation_ms = 0;
};

// News about a request. The last ones have a result or an error.
struct RequestEvents {
  std::vector<TokenEvent> tokens;
  std::string tail;
  std::optional<RequestResult> done;
  std::optional<Error> error;
};

// Where an engine sends the news. Called on the runtime's threads; must not block. Exactly one delivery has a result or error.
class RequestSink {
 public:
  virtual ~RequestSink() = default;
  virtual void deliver(RequestEvents&& events) = 0;
};

// The same for `score`: the log-probability of each token after the first.
class ScoreSink {
 public:
  virtual ~ScoreSink() = default;
  virtual void deliver(Result<std::vector<float>>&& logprobs) = 0;
};

}  // namespace infernode
