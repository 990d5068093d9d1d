// Text to token ids and back. A tokenizer is made from a description (src/tokenizer/description.ts) and never changes
// afterwards.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "json.h"
#include "result.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/subword_model.h"
#include "tokenizer/vocabulary.h"

namespace infernode {

struct Encoding {
  std::vector<int32_t> ids;
  // Start and end of each id in UTF-16 code units of the text, as JavaScript counts. Bytes of one character share its place.
  std::vector<uint32_t> offsets;
};

struct EncodeOptions {
  // Add what the tokenizer puts around a text (beginning of text, and the like).
  bool add_special = true;
  // Recognise control tokens that are spelled out in the text; without it they are text like any other.
  bool parse_special = false;
  bool offsets = false;
};

// Used by many threads at once.
class Tokenizer {
 public:
  // Reads the vocabulary from the file that the description names. Errors name that file, or `source_name` if it names none.
  static Result<std::shared_ptr<const Tokenizer>> make(const json::Value& description, std::string_view source_name);

  // Time in proportion to the text. What is not UTF-8 counts as U+FFFD. INVALID_ARGUMENT for more than 256 MiB.
  Status encode(std::string_view utf8, const EncodeOptions& options, Encoding& out) const;

  // Bytes that make no character become U+FFFD. TOKEN_UNKNOWN for ids outside of the vocabulary.
  Result<std::string> decode(const std::vector<int32_t>& ids, bool skip_special) const;

  size_t vocab_size() const { return vocabulary_.size(); }
  bool has(int32_t id) const { return id >= 0 && static_cast<size_t>(id) < vocabulary_.size(); }
  // A control token; false for ids outside of the vocabulary.
  bool is_special(int32_t id) const { return has(id) && vocabulary_.is_special(id); }
  // The bytes that the token stands for in a text: of "Ġthe" or "▁the" " the", of <0x0A> a line feed. Empty for ids outside.
  std::string_view token_bytes(int32_t id) const { return has(id) ? vocabulary_.bytes(id) : std::string_view(); }
  // The vocabulary's own spelling, well-formed UTF-8; empty for ids outside.
  std::string piece(int32_t id) const;
  // The id of a piece or an added token, in the vocabulary's own spelling; -1 where there is none.
  int32_t find(std::string_view piece) const { return vocabulary_.find(piece); }

  // A text begins with a space that encoding put there, so decoding takes it away.
  bool strips_first_space() const { return space_marks_ && add_space_prefix_; }

 private:
  class Session;
  Tokenizer() : pre_tokenizer_({}) {}

  Status read_added(std::vector<AddedToken> added, const std::string& source);
  Status read_around(const json::Value& description, const char* field, std::vector<int32_t>& ids,
                     const std::string& source) const;

  Vocabulary vocabulary_;
  std::unique_ptr<SubwordModel> model_;
  PreTokenizer pre_tokenizer_;
  // Looked for before and after normalization.
  AddedTokens added_raw_, added_normalized_;
  std::vector<int32_t> before_, after_;
  bool nfc_ = false;
  // SentencePiece spells spaces as U+2581; see SentencePiece::joins_space_mark.
  bool space_marks_ = false;
  std::array<bool, 256> joins_space_mark_{};
  // A space goes before a text, and after each added token.
  bool add_space_prefix_ = false;
  // Offsets leave out the spaces at both ends of a token; `keeps_first_` all but one at the start of the text.
  bool trims_offsets_ = false, trim_keeps_first_ = false;
};

}  // namespace infernode
