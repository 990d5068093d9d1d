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
#include "tokenizer/normalizer.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/subword_model.h"
#include "tokenizer/vocabulary.h"

namespace infernode {

struct Encoding {
  std::vector<int32_t> ids;
  // Start and end of each id in UTF-16 code units of the text, as JavaScript counts. Bytes of one character share its place.
  std::vector<uint32_t> offsets;
  // Which segment of the model's input each id belongs to: 0, or 1 for the second text of a pair where the tokenizer says so.
  std::vector<uint32_t> type_ids;
};

struct EncodeOptions {
  // Add what the tokenizer puts around a text (beginning of text, and the like).
  bool add_special = true;
  // Recognise control tokens that are spelled out in the text; without it they are text like any other.
  bool parse_special = false;
  bool offsets = false;
  bool type_ids = false;
};

// Used by many threads at once.
class Tokenizer {
 public:
  // Reads the vocabulary from the file that the description names. Errors name that file, or `source_name` if it names none.
  static Result<std::shared_ptr<const Tokenizer>> make(const json::Value& description, std::string_view source_name);

  // Time in proportion to the text. What is not UTF-8 counts as U+FFFD. INVALID_ARGUMENT for more than 256 MiB.
  Status encode(std::string_view utf8, const EncodeOptions& options, Encoding& out) const;
  // Two texts together, as models take them that compare texts. Offsets are places in the text that the id comes from.
  Status encode_pair(std::string_view first, std::string_view second, const EncodeOptions& options, Encoding& out) const;

  // Bytes that make no character become U+FFFD. TOKEN_UNKNOWN for ids outside of the vocabulary.
  Result<std::string> decode(const std::vector<int32_t>& ids, bool skip_special) const;

  size_t vocab_size() const { return vocabulary_.size(); }
  // Of the vocabulary, which is most of a tokenizer.
  size_t memory_bytes() const { return vocabulary_.memory_bytes(); }
  bool has(int32_t id) const { return id >= 0 && static_cast<size_t>(id) < vocabulary_.size(); }
  // A control token; false for ids outside of the vocabulary.
  bool is_special(int32_t id) const { return has(id) && vocabulary_.is_special(id); }
  // The bytes that the token stands for in a text: of "Ġthe" or "▁the" " the", of <0x0A> a line feed. Empty for ids outside.
  std::string_view token_bytes(int32_t id) const { return has(id) ? vocabulary_.bytes(id) : std::string_view(); }
  // The same for the first token of a text: without a space that encoding put there.
  std::string_view first_bytes(int32_t id) const { return has(id) ? vocabulary_.first_bytes(id) : std::string_view(); }
  // The vocabulary's own spelling, well-formed UTF-8; empty for ids outside.
  std::string piece(int32_t id) const;
  // The id of a piece or an added token, in the vocabulary's own spelling; -1 where there is none.
  int32_t find(std::string_view piece) const { return vocabulary_.find(piece); }

 private:
  class Session;
  // What a text, or a pair, becomes: ids, and between them the texts.
  struct TemplatePart {
    int32_t id;     // -1: a text
    uint32_t text;  // 0 or 1: which
    uint32_t type_id;
  };
  // Marks instead of spaces, and one before each piece that does not begin with one.
  struct Metaspace {
    bool used = false;
    std::string mark;
    enum class Prepend : uint8_t { kNever, kFirst, kAlways } prepend = Prepend::kNever;  // kFirst: where the text starts
    bool split = false;                                                                  // each mark begins a piece
  };
  Tokenizer() : pre_tokenizer_({}), after_metaspace_({}) {}

  Status read_model(const json::Value& model, LoadedVocabulary& loaded, const std::string& source);
  Status read_pre_tokenizer(const json::Value& steps, const std::string& source);
  Status read_added(std::vector<AddedToken> added, const std::string& source);
  Status read_template(const json::Value& parts, const char* field, std::vector<TemplatePart>& into,
                       const std::string& source) const;
  // An id, or the piece that has it; -1 for null.
  Result<int32_t> id_of(const json::Value& value, const char* field, const std::string& source) const;

  Vocabulary vocabulary_;
  std::unique_ptr<SubwordModel> model_;
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  Metaspace metaspace_;
  PreTokenizer after_metaspace_;
  // Looked for before and after normalization.
  AddedTokens added_raw_, added_normalized_;
  std::vector<TemplatePart> single_, pair_;
  // SentencePiece of GGUF: spaces are spelled as U+2581, before anything else.
  bool space_marks_ = false;
  // Words may be cut before space marks, unless one of these bytes comes before; see note_space_marks.
  bool cuts_at_marks_ = false;
  std::array<bool, 256> joins_space_mark_{};
  // A space goes before a text, and after each added token.
  bool add_space_prefix_ = false;
  // Offsets leave out the spaces at both ends of a token; `keeps_first_` all but one at the start of the text.
  bool trims_offsets_ = false, trim_keeps_first_ = false;
};

}  // namespace infernode
