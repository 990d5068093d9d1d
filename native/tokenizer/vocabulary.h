// The pieces of a vocabulary and what they stand for, read from a GGUF file's byte ranges or from a tokenizer.json.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "array.h"
#include "json.h"
#include "result.h"

namespace infernode {

// Numbered as GGUF does (tokenizer.ggml.token_type); kHole is an id that no piece has.
enum class TokenKind : uint8_t { kHole, kNormal, kUnknown, kControl, kUserDefined, kUnused, kByte };

// How pieces spell the bytes they stand for.
enum class Spelling : uint8_t {
  kByteLevel,   // each byte as one character of an alphabet of 256
  kSpaceMarks,  // text with U+2581 for a space, and <0x0A> for single bytes
};

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
  std::string_view piece(int32_t id) const { return slice(text_, pieces_[static_cast<size_t>(id)]); }
  std::string_view bytes(int32_t id) const { return slice(bytes_text_, bytes_[static_cast<size_t>(id)]); }
  TokenKind kind(int32_t id) const { return static_cast<TokenKind>(kinds_[static_cast<size_t>(id)]); }
  bool is_special(int32_t id) const { return kind(id) == TokenKind::kControl || kind(id) == TokenKind::kUnknown; }
  // 0 where the source has none.
  float score(int32_t id) const { return scores_.size() ? scores_[static_cast<size_t>(id)] : 0.0f; }
  // -1 where there is none.
  int32_t find(std::string_view piece) const;

 private:
  friend class VocabularyReader;
  struct Slice {
    uint32_t offset, length;
  };
  static std::string_view slice(const Array<char>& text, Slice s) { return {text.data() + s.offset, s.length}; }

  Array<char> text_, bytes_text_;
  Array<Slice> pieces_, bytes_;
  Array<uint8_t> kinds_;
  Array<float> scores_;
  Array<uint32_t> slots_;  // open addressing: id + 1, or 0
};

struct LoadedVocabulary {
  Vocabulary vocabulary;
  Array<MergeRule> merges;
  std::vector<AddedToken> added;
};

// `source` is the description's "vocab" (src/tokenizer/description.ts).
Result<LoadedVocabulary> load_vocabulary(const json::Value& source, Spelling spelling);

// The JSON text of a tokenizer.json without model.vocab, model.merges and added_tokens: what remains is small.
Result<std::string> tokenizer_json_skeleton(const std::string& path);

// The character that byte-level BPE spells a byte with.
uint32_t byte_level_character(uint8_t byte);

// A piece as an error message can show it: short and well-formed.
std::string shown(std::string_view piece);

}  // namespace infernode
