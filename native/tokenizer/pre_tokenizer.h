// Splits text into the words that subword models work on: hand-written matchers for the regular expressions of published
// tokenizers, and programs for others.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "result.h"
#include "tokenizer/regex.h"

namespace infernode {

// The rows of src/tokenizer/patterns.ts, which says which regular expressions and GGUF names mean which.
enum class SplitPattern : uint8_t {
  kGpt2,
  kLlama3,
  kQwen2,
  kGpt4o,
  kTekken,
  kDigitTriples,
  kDigits,
  kDigitRuns,
  kByteDigitRuns,
  kAsciiTriples,
  kNewlines,
  kPunctuationRuns,
  kCjkKana,
  kCjkHangul,
  kDeepseekV3,
  kDeepseekLetters,
  kDeepseekPunctuation,
  kDeepseekCoderLetters,
  kDeepseekCoderPunctuation,
  kTrailingSpace,
  kWhitespace,
  kWords,
  kPunctuation,
  kText,
  kRegex,
};

// -1 for an unknown name.
int split_pattern_of(std::string_view name);

// What becomes of matches, named as tokenizer.json does.
enum class SplitBehavior : uint8_t { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

// -1 for an unknown name.
int split_behavior_of(std::string_view name);

struct SplitStep {
  SplitPattern pattern;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  // What lies between matches counts as the match.
  bool invert = false;
  std::string text = {};  // what kText matches; not empty
  std::shared_ptr<const Regex> regex = {};  // what kRegex runs
};

// Steps in the order in which they split: each divides the pieces that the one before it left, into matches and what lies
// between them. Linear in the text; programs within their bound.
class PreTokenizer {
 public:
  explicit PreTokenizer(std::vector<SplitStep> steps) : steps_(std::move(steps)) {}

  bool empty() const { return steps_.empty(); }

  // Calls `word(std::string_view)` for every piece, none of them empty. `text` is well-formed UTF-8. Stops at the first error,
  // which may be that programs have used up the steps of `scratch`.
  template <class Word>
  Status split(std::string_view text, Regex::Scratch& scratch, const Word& word) const {
    const auto call = [](const void* target, std::string_view piece) { return (*static_cast<const Word*>(target))(piece); };
    return split_from(0, text, scratch, call, &word);
  }

 private:
  using Call = Status (*)(const void* target, std::string_view piece);
  Status split_from(size_t step, std::string_view text, Regex::Scratch& scratch, Call call, const void* target) const;

  std::vector<SplitStep> steps_;
};

}  // namespace infernode
