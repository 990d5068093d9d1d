// SentencePiece's BPE as GGUF files carry it: pieces with scores, and single bytes for what has no piece. arXiv:1808.06226.
#pragma once

#include <array>
#include <memory>
#include <string_view>

#include "tokenizer/subword_model.h"
#include "tokenizer/vocabulary.h"

namespace infernode {

struct SentencePieceOptions {
  // For characters that neither a piece nor <0x..> pieces stand for; -1: the vocabulary must have all bytes.
  int32_t unknown_id = -1;
};

// Notes the last bytes of characters that a space mark follows inside of the piece. Before any other space mark, text may be
// cut into words without changing the result: nothing merges across.
void note_space_marks(std::string_view piece, std::array<bool, 256>& joins_space_mark);

struct SentencePiece {
  std::unique_ptr<SubwordModel> model;
  std::array<bool, 256> joins_space_mark{};  // of all pieces
};

// `vocabulary` must outlive the model. TOKENIZER_INVALID if bytes are missing and there is no unknown token.
Result<SentencePiece> make_sentencepiece(const Vocabulary& vocabulary, const SentencePieceOptions& options,
                                         std::string_view source_name);

}  // namespace infernode
