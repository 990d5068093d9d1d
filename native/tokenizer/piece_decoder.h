// What pieces of a vocabulary stand for in a text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "json.h"
#include "result.h"

namespace infernode {

// Numbered as GGUF does (tokenizer.ggml.token_type); kHole is an id that no piece has.
enum class TokenKind : uint8_t { kHole, kNormal, kUnknown, kControl, kUserDefined, kUnused, kByte };

// Takes each piece by itself, so that text can be given out token by token. What a tokenizer.json calls decoders becomes steps
// of this, as far as they can be done so.
class PieceDecoder {
 public:
  // `steps` is the description's "decoder".
  static Result<PieceDecoder> make(const json::Value& steps, std::string_view source_name);

  // The bytes of a piece, `first`: as the first token of a text.
  void decode(std::string_view piece, TokenKind kind, bool first, std::string& out) const;

  // The first token of a text may stand for something else than later ones.
  bool first_differs() const { return first_differs_; }
  // Pieces <0x..> are bytes, whether the file calls them so or not.
  bool finds_bytes() const { return finds_bytes_; }

 private:
  enum class Kind : uint8_t { kByteLevel, kReplace, kBytes, kMetaspace, kWordPiece, kCleanup, kStripFirst };
  struct Step {
    Kind kind;
    std::string from, to;
    bool strips_first = false, except_control = false;
  };
  std::vector<Step> steps_;
  bool first_differs_ = false, finds_bytes_ = false;
  int16_t byte_for_[0x200];
};

// The character that byte-level BPE spells a byte with.
uint32_t byte_level_character(uint8_t byte);

// <0x0A> for 10.
std::string byte_piece(uint8_t byte);
// 10 for <0x0A>, -1 for anything else.
int byte_of(std::string_view piece);

}  // namespace infernode
