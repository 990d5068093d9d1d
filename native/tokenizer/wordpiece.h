// WordPiece: of a word, always the longest piece that fits next. arXiv:1609.08144 §4.1, as BERT does it.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "tokenizer/subword_model.h"
#include "tokenizer/vocabulary.h"

namespace infernode {

struct WordPieceOptions {
  // What pieces begin with that begin a word, and those that go on with one: "" and "##", or as GGUF has it, "▁" and "".
  std::string word_prefix, continuing_prefix;
  // Longer words are unknown.
  size_t max_characters = 100;
  // For words that pieces do not cover.
  int32_t unknown_id = -1;
};

// `vocabulary` must outlive the model.
Result<std::unique_ptr<SubwordModel>> make_wordpiece(const Vocabulary& vocabulary, const WordPieceOptions& options,
                                                     std::string_view source_name);

}  // namespace infernode
