// Byte-pair encoding: ranked merges of pairs of pieces. arXiv:1508.07909 §3.2; over bytes: GPT-2.
#pragma once

#include <memory>
#include <string_view>

#include "tokenizer/subword_model.h"
#include "tokenizer/vocabulary.h"

namespace infernode {

struct BpeOptions {
  // Words are characters, not bytes.
  bool characters = false;
  // A word that is a piece of the vocabulary is that piece, whatever the merges say.
  bool ignore_merges = false;
  // For bytes, or characters, that the vocabulary has no piece for; -1: they are left out.
  int32_t unknown_id = -1;
  // Characters only: those without a piece are the pieces <0x..> of their bytes, if all of these exist.
  bool byte_fallback = false;
  // Characters only: neighbours that are unknown become one.
  bool fuse_unknown = false;
};

// `vocabulary` must outlive the model.
Result<std::unique_ptr<SubwordModel>> make_bpe(const Vocabulary& vocabulary, const Array<MergeRule>& merges,
                                               const BpeOptions& options);

}  // namespace infernode
