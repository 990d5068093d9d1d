// Tokens to text as they come: only whole characters are given out, bytes of an unfinished one are held back.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace infernode {

struct DetokenizerOptions {
  // Control tokens appear as they are spelled; else they are left out.
  bool show_special = false;
};

class Detokenizer {
 public:
  explicit Detokenizer(std::shared_ptr<const Tokenizer> tokenizer, const DetokenizerOptions& options = {})
      : tokenizer_(std::move(tokenizer)), options_(options) {}

  // What comes continues a text of these tokens, which is not given out again; only bytes of a character that it leaves
  // unfinished are.
  void continue_after(const std::vector<int32_t>& ids);

  // Appends to `text` what became certain with this token; ids outside of the vocabulary are nothing. All texts together are
  // what Tokenizer::decode gives for all ids.
  void push(int32_t id, std::string& text);

  // Appends U+FFFD for bytes that still wait. The next push begins a new text in the middle of the sentence.
  void finish(std::string& text);

 private:
  void release(std::string& text);

  std::shared_ptr<const Tokenizer> tokenizer_;
  DetokenizerOptions options_;
  bool at_start_ = true;  // nothing was given out yet: a space at the front may be the tokenizer's
  std::string pending_;  // at most three bytes between calls
};

}  // namespace infernode
