// Reads descriptions, and decodes. Encoding is in encode.cc.
#include "tokenizer/tokenizer.h"

#include "tokenizer/bpe.h"
#include "tokenizer/sentencepiece.h"
#include "tokenizer/unicode.h"

namespace infernode {
namespace {

// -1 for null or nothing.
Result<int32_t> optional_id(const json::Value& value, size_t vocab_size, const char* field, const std::string& source) {
  if (value.is_null()) return -1;
  INFERNODE_ASSIGN(id, value.integer());
  if (id < 0 || static_cast<uint64_t>(id) >= vocab_size)
    return error(ErrorCode::kTokenizerInvalid, {source, field, "there is no token " + std::to_string(id)});
  return static_cast<int32_t>(id);
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> Tokenizer::make(const json::Value& description, std::string_view source_name) {
  std::string source = description.get("vocab").get("file").string();
  if (source.empty()) source = source_name;
  const json::Value model = description.get("model");
  const std::string kind = model.get("kind").string();
  const bool byte_level = kind == "bpe" && model.get("byteLevel").boolean();
  if (!byte_level && kind != "spm") {
    const std::string name = kind == "bpe" ? "character BPE" : kind;
    return error(ErrorCode::kTokenizerUnsupported, {source, "model", name});
  }
  INFERNODE_ASSIGN(loaded,
                   load_vocabulary(description.get("vocab"), byte_level ? Spelling::kByteLevel : Spelling::kSpaceMarks));
  std::shared_ptr<Tokenizer> tokenizer(new Tokenizer());
  tokenizer->vocabulary_ = std::move(loaded.vocabulary);
  tokenizer->add_space_prefix_ = model.get("addSpacePrefix").boolean();
  tokenizer->trims_offsets_ = description.get("trimOffsets").boolean();
  tokenizer->trim_keeps_first_ = description.get("trimKeepsFirst").boolean();
  const Vocabulary& vocabulary = tokenizer->vocabulary_;
  INFERNODE_ASSIGN(unknown_id, optional_id(model.get("unknownId"), vocabulary.size(), "unknownId", source));
  if (byte_level) {
    BpeOptions options;
    options.ignore_merges = model.get("ignoreMerges").boolean();
    options.unknown_id = unknown_id;
    if (model.get("unknownPiece").is_string()) {
      const std::string piece = model.get("unknownPiece").string();
      options.unknown_id = vocabulary.find(piece);
      if (options.unknown_id < 0)
        return error(ErrorCode::kTokenizerInvalid, {source, "unk_token", "\"" + shown(piece) + "\" is not in the vocabulary"});
    }
    INFERNODE_ASSIGN(made, make_byte_level_bpe(vocabulary, loaded.merges, options));
    tokenizer->model_ = std::move(made);
  } else {
    SentencePieceOptions options;
    options.unknown_id = unknown_id;
    INFERNODE_ASSIGN(made, make_sentencepiece(vocabulary, options, source));
    tokenizer->model_ = std::move(made.model);
    tokenizer->joins_space_mark_ = made.joins_space_mark;
    tokenizer->space_marks_ = true;
  }
  for (const json::Value name : description.get("normalizer").elements()) {
    if (name.string() != "nfc") return error(ErrorCode::kTokenizerUnsupported, {source, "normalizer", name.string()});
    tokenizer->nfc_ = true;
  }
  std::vector<SplitPattern> patterns;
  for (const json::Value name : description.get("preTokenizer").elements()) {
    const int pattern = split_pattern_of(name.string());
    if (pattern < 0) return error(ErrorCode::kTokenizerUnsupported, {source, "pre-tokenizer", name.string()});
    patterns.push_back(static_cast<SplitPattern>(pattern));
  }
  tokenizer->pre_tokenizer_ = PreTokenizer(std::move(patterns));
  INFERNODE_TRY(tokenizer->read_added(std::move(loaded.added), source));
  INFERNODE_TRY(tokenizer->read_around(description, "before", tokenizer->before_, source));
  INFERNODE_TRY(tokenizer->read_around(description, "after", tokenizer->after_, source));
  return std::shared_ptr<const Tokenizer>(std::move(tokenizer));
}

Status Tokenizer::read_added(std::vector<AddedToken> added, const std::string& source) {
  std::vector<AddedTokens::Entry> raw, normalized;
  for (const AddedToken& token : added) {
    std::string content(vocabulary_.piece(token.id));
    if (token.normalized && nfc_) {
      std::string composed;
      unicode::append_nfc(content, composed, nullptr);
      content = std::move(composed);
    }
    (token.normalized ? normalized : raw).push_back({std::move(content), token});
  }
  INFERNODE_ASSIGN(made_raw, AddedTokens::make(std::move(raw), source));
  INFERNODE_ASSIGN(made_normalized, AddedTokens::make(std::move(normalized), source));
  added_raw_ = std::move(made_raw);
  added_normalized_ = std::move(made_normalized);
  return {};
}

Status Tokenizer::read_around(const json::Value& description, const char* field, std::vector<int32_t>& ids,
                              const std::string& source) const {
  for (const json::Value element : description.get(field).elements()) {
    if (element.is_string()) {
      const std::string piece = element.string();
      const int32_t id = vocabulary_.find(piece);
      if (id < 0)
        return error(ErrorCode::kTokenizerInvalid, {source, field, "\"" + shown(piece) + "\" is not in the vocabulary"});
      ids.push_back(id);
      continue;
    }
    INFERNODE_ASSIGN(id, optional_id(element, vocabulary_.size(), field, source));
    if (id < 0) return error(ErrorCode::kTokenizerInvalid, {source, field, "expected an id or a piece"});
    ids.push_back(id);
  }
  return {};
}

std::string Tokenizer::piece(int32_t id) const {
  if (!has(id)) return {};
  std::string storage;
  return std::string(unicode::well_formed(vocabulary_.piece(id), storage));
}

Result<std::string> Tokenizer::decode(const std::vector<int32_t>& ids, bool skip_special) const {
  std::string bytes;
  bool first = strips_first_space();
  for (const int32_t id : ids) {
    if (!has(id)) return error(ErrorCode::kTokenUnknown, {std::to_string(id), std::to_string(vocab_size())});
    if (skip_special && vocabulary_.is_special(id)) continue;
    std::string_view token = vocabulary_.bytes(id);
    if (first && !token.empty()) {
      if (token[0] == ' ') token.remove_prefix(1);
      first = false;
    }
    bytes += token;
  }
  std::string storage;
  const std::string_view text = unicode::well_formed(bytes, storage);
  return text.data() == bytes.data() ? std::move(bytes) : std::move(storage);
}

}  // namespace infernode
