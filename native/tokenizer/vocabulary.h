// The pieces of a vocabulary and what they stand for, read from a GGUF file's byte ranges or from a tokenizer.json.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "array.h"
#include "json.h"
#include "result.h"
#include "tokenizer/piece_decoder.h"

namespace infernode {

// A piece that is looked for in the text before anything else.
struct AddedToken {
  int32_t id;
  // Only recognised if the caller asks for it: text from users must not become a control token.
  bool special;
  // Takes the white space to its left or right along.
  bool lstrip, rstrip;
  // Only between characters that are not part of words.
  bool single_word;
  // Looked for in the normalized text.
  bool normalized;
};

// merges[rank]: two pieces next to each other become one.
struct MergeRule {
  int32_t left, right, merged;
};

class Vocabulary {
 public:
  size_t size() const { return pieces_.size(); }
  size_t memory_bytes() const {
    return text_.size() + bytes_text_.size() + sizeof(Slice) * (pieces_.size() + bytes_.size() + first_bytes_.size()) +
           kinds_.size() + sizeof(double) * scores_.size() + sizeof(uint32_t) * slots_.size();
  }
  std::string_view piece(int32_t id) const { return slice(text_, pieces_[static_cast<size_t>(id)]); }
  // What the token stands for in a text; at the start of a text that may be something else.
  std::string_view bytes(int32_t id) const { return slice(bytes_text_, bytes_[static_cast<size_t>(id)]); }
  std::string_view first_bytes(int32_t id) const {
    return slice(bytes_text_, (first_bytes_.size() ? first_bytes_ : bytes_)[static_cast<size_t>(id)]);
  }
  TokenKind kind(int32_t id) const { return static_cast<TokenKind>(kinds_[static_cast<size_t>(id)]); }
  bool is_special(int32_t id) const { return kind(id) == TokenKind::kControl || kind(id) == TokenKind::kUnknown; }
  bool has_scores() const { return scores_.size() > 0; }
  // 0 where the source has none.
  double score(int32_t id) const { return scores_.size() ? scores_[static_cast<size_t>(id)] : 0; }
  // -1 where there is none.
  int32_t find(std::string_view piece) const;
  // The ids of pieces with a text for which `test(id)` holds.
  template <class Test>
  Result<Array<int32_t>> ids_where(const Test& test) const {
    const auto chosen = [&](int32_t id) { return !piece(id).empty() && kind(id) != TokenKind::kHole && test(id); };
    const int32_t count = static_cast<int32_t>(size());
    size_t n = 0;
    for (int32_t id = 0; id < count; id++) n += chosen(id);
    INFERNODE_ASSIGN(ids, Array<int32_t>::make(n, "the vocabulary"));
    n = 0;
    for (int32_t id = 0; id < count; id++)
      if (chosen(id)) ids[n++] = id;
    return std::move(ids);
  }

 private:
  friend class VocabularyReader;
  struct Slice {
    uint32_t offset, length;
  };
  static std::string_view slice(const Array<char>& text, Slice s) { return {text.data() + s.offset, s.length}; }

  Array<char> text_, bytes_text_;
  Array<Slice> pieces_, bytes_, first_bytes_;
  Array<uint8_t> kinds_;
  Array<double> scores_;
  Array<uint32_t> slots_;  // open addressing: id + 1, or 0
};

struct LoadedVocabulary {
  Vocabulary vocabulary;
  Array<MergeRule> merges;
  std::vector<AddedToken> added;
  // How many ids belong to the model itself and not only to added tokens.
  int32_t piece_count = 0;
  // SentencePiece's normalization table, decoded; empty where there is none. See charsmap.h.
  Array<char> charsmap;
};

// `source` is the description's "vocab" (src/tokenizer/description.ts).
Result<LoadedVocabulary> load_vocabulary(const json::Value& source, const PieceDecoder& decoder);

// The JSON text of a tokenizer.json without model.vocab, model.merges and added_tokens: but for a normalization table, what
// remains is small.
Result<std::string> tokenizer_json_skeleton(const std::string& path);

// A piece as an error message can show it: short and well-formed.
std::string shown(std::string_view piece);

}  // namespace infernode
