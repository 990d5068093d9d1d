// Unigram language model: the division of a word into pieces whose scores add up to the most. arXiv:1804.10959.
#pragma once

#include <memory>
#include <string_view>

#include "tokenizer/subword_model.h"
#include "tokenizer/vocabulary.h"

namespace infernode {

struct UnigramOptions {
  // For characters without a piece; neighbours become one of it. -1: there must be none.
  int32_t unknown_id = -1;
  // Unknown characters become the pieces <0x..> of their bytes, if all of these exist.
  bool byte_fallback = false;
  // Only what GGUF calls normal, user-defined and unused is found in a text, control tokens are not. Without it, all pieces
  // are, as the Rust library does it.
  bool only_text = false;
  // The model's own pieces have the ids below this; tokens that were added to them have no score.
  int32_t piece_count = 0;
};

// `vocabulary` must outlive the model.
Result<std::unique_ptr<SubwordModel>> make_unigram(const Vocabulary& vocabulary, const UnigramOptions& options,
                                                   std::string_view source_name);

}  // namespace infernode
