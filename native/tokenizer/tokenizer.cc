// Reads descriptions, and decodes. Encoding is in encode.cc.
#include "tokenizer/tokenizer.h"

#include "tokenizer/bpe.h"
#include "tokenizer/sentencepiece.h"
#include "tokenizer/unicode.h"
#include "tokenizer/unigram.h"
#include "tokenizer/wordpiece.h"

namespace infernode {
namespace {

constexpr size_t kMaxMark = 64;
constexpr size_t kMaxSplitText = 1024;

Error invalid(const std::string& source, std::string field, std::string reason) {
  return error(ErrorCode::kTokenizerInvalid, {source, std::move(field), std::move(reason)});
}

Error unsupported(const std::string& source, std::string component, std::string name) {
  return error(ErrorCode::kTokenizerUnsupported, {source, std::move(component), std::move(name)});
}

// "name", or {"pattern": "name", "behavior": .., "invert": .., "text": .., "program": ..}
Result<SplitStep> split_step(const json::Value& value, const std::string& source) {
  const std::string name = value.is_string() ? value.string() : value.get("pattern").string();
  const int pattern = split_pattern_of(name);
  if (pattern < 0) return unsupported(source, "pre-tokenizer", name);
  SplitStep step{static_cast<SplitPattern>(pattern)};
  if (value.is_string()) {
    if (step.pattern == SplitPattern::kText || step.pattern == SplitPattern::kRegex)
      return invalid(source, "pre-tokenizer", "nothing to split at");
    return step;
  }
  const std::string named = value.get("behavior").string();
  const int behavior = split_behavior_of(named);
  if (behavior < 0) return unsupported(source, "pre-tokenizer", name + ", " + named);
  step.behavior = static_cast<SplitBehavior>(behavior);
  step.invert = value.get("invert").boolean();
  step.text = value.get("text").string();
  if (step.pattern == SplitPattern::kText && (step.text.empty() || step.text.size() > kMaxSplitText))
    return invalid(source, "pre-tokenizer", "the text to split at is empty or too long");
  if (step.pattern == SplitPattern::kRegex) {
    INFERNODE_ASSIGN(regex, Regex::make(value.get("program"), source));
    step.regex = std::move(regex);
  }
  return step;
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> Tokenizer::make(const json::Value& description, std::string_view source_name) {
  std::string source = description.get("vocab").get("file").string();
  if (source.empty()) source = source_name;
  const json::Value model = description.get("model");
  INFERNODE_ASSIGN(decoder, PieceDecoder::make(description.get("decoder"), source));
  INFERNODE_ASSIGN(loaded, load_vocabulary(description.get("vocab"), decoder));
  std::shared_ptr<Tokenizer> tokenizer(new Tokenizer());
  tokenizer->vocabulary_ = std::move(loaded.vocabulary);
  tokenizer->add_space_prefix_ = model.get("addSpacePrefix").boolean();
  tokenizer->trims_offsets_ = description.get("trimOffsets").boolean();
  tokenizer->trim_keeps_first_ = description.get("trimKeepsFirst").boolean();
  INFERNODE_TRY(tokenizer->read_model(model, loaded, source));
  INFERNODE_ASSIGN(normalizer, Normalizer::make(description.get("normalizer"), std::move(loaded.charsmap), source));
  tokenizer->normalizer_ = std::move(normalizer);
  INFERNODE_TRY(tokenizer->read_pre_tokenizer(description.get("preTokenizer"), source));
  INFERNODE_TRY(tokenizer->read_added(std::move(loaded.added), source));
  INFERNODE_TRY(tokenizer->read_template(description.get("single"), "single", tokenizer->single_, source));
  INFERNODE_TRY(tokenizer->read_template(description.get("pair"), "pair", tokenizer->pair_, source));
  if (tokenizer->single_.empty()) tokenizer->single_ = {{-1, 0, 0}};
  if (tokenizer->pair_.empty()) tokenizer->pair_ = {{-1, 0, 0}, {-1, 1, 1}};
  return std::shared_ptr<const Tokenizer>(std::move(tokenizer));
}

Status Tokenizer::read_model(const json::Value& model, LoadedVocabulary& loaded, const std::string& source) {
  const std::string kind = model.get("kind").string();
  INFERNODE_ASSIGN(unknown_id, id_of(model.get("unknown"), "the unknown token", source));
  if (kind == "bpe") {
    BpeOptions options;
    options.characters = !model.get("byteLevel").boolean();
    options.ignore_merges = model.get("ignoreMerges").boolean();
    options.unknown_id = unknown_id;
    options.byte_fallback = model.get("byteFallback").boolean();
    options.fuse_unknown = model.get("fuseUnknown").boolean();
    INFERNODE_ASSIGN(made, make_bpe(vocabulary_, loaded.merges, options));
    model_ = std::move(made);
    // Without a pre-tokenizer a whole text is one word; cut into shorter ones it is quicker.
    cuts_at_marks_ = options.characters && !options.ignore_merges;
    if (cuts_at_marks_)
      for (const MergeRule& rule : loaded.merges) note_space_marks(vocabulary_.piece(rule.merged), joins_space_mark_);
    return {};
  }
  if (kind == "spm") {
    SentencePieceOptions options;
    options.unknown_id = unknown_id;
    INFERNODE_ASSIGN(made, make_sentencepiece(vocabulary_, options, source));
    model_ = std::move(made.model);
    joins_space_mark_ = made.joins_space_mark;
    space_marks_ = cuts_at_marks_ = true;
    return {};
  }
  if (kind == "wordpiece") {
    WordPieceOptions options;
    options.word_prefix = model.get("wordPrefix").string();
    options.continuing_prefix = model.get("continuingPrefix").string();
    INFERNODE_ASSIGN(most, model.get("maxCharacters").integer());
    if (most < 1) return invalid(source, "max_input_chars_per_word", std::to_string(most) + " characters");
    options.max_characters = static_cast<size_t>(most);
    options.unknown_id = unknown_id;
    INFERNODE_ASSIGN(made, make_wordpiece(vocabulary_, options, source));
    model_ = std::move(made);
    return {};
  }
  if (kind == "unigram") {
    UnigramOptions options;
    options.unknown_id = unknown_id;
    options.byte_fallback = model.get("byteFallback").boolean();
    options.only_text = model.get("onlyText").boolean();
    options.piece_count = loaded.piece_count;
    INFERNODE_ASSIGN(made, make_unigram(vocabulary_, options, source));
    model_ = std::move(made);
    return {};
  }
  return unsupported(source, "model", kind);
}

Status Tokenizer::read_pre_tokenizer(const json::Value& steps, const std::string& source) {
  std::vector<SplitStep> before, after;
  for (const json::Value value : steps.elements()) {
    if (value.get("kind").string() != "metaspace") {
      INFERNODE_ASSIGN(step, split_step(value, source));
      (metaspace_.used ? after : before).push_back(std::move(step));
      continue;
    }
    if (metaspace_.used) return unsupported(source, "pre-tokenizer", "Metaspace twice");
    metaspace_.used = true;
    metaspace_.mark = value.get("mark").string();
    metaspace_.split = value.get("split").boolean();
    const std::string prepend = value.get("prepend").string();
    if (metaspace_.mark.empty() || metaspace_.mark.size() > kMaxMark)
      return invalid(source, "pre-tokenizer", "no mark for spaces");
    if (prepend == "always") {
      metaspace_.prepend = Metaspace::Prepend::kAlways;
    } else if (prepend == "first") {
      metaspace_.prepend = Metaspace::Prepend::kFirst;
    } else if (prepend != "never") {
      return unsupported(source, "pre-tokenizer", "Metaspace, prepend_scheme " + prepend);
    }
  }
  pre_tokenizer_ = PreTokenizer(std::move(before));
  after_metaspace_ = PreTokenizer(std::move(after));
  return {};
}

Status Tokenizer::read_added(std::vector<AddedToken> added, const std::string& source) {
  std::vector<AddedTokens::Entry> raw, normalized;
  for (const AddedToken& token : added) {
    std::string storage, well_formed;
    std::string_view content = vocabulary_.piece(token.id);
    if (token.normalized) {
      INFERNODE_ASSIGN(after, normalizer_.run(unicode::well_formed(content, well_formed), storage, nullptr));
      // What normalization leaves nothing of is not in any text.
      if (after.empty()) continue;
      content = after;
    }
    (token.normalized ? normalized : raw).push_back({std::string(content), token});
  }
  INFERNODE_ASSIGN(made_raw, AddedTokens::make(std::move(raw), source));
  INFERNODE_ASSIGN(made_normalized, AddedTokens::make(std::move(normalized), source));
  added_raw_ = std::move(made_raw);
  added_normalized_ = std::move(made_normalized);
  return {};
}

Result<int32_t> Tokenizer::id_of(const json::Value& value, const char* field, const std::string& source) const {
  if (value.is_null()) return -1;
  if (value.is_string()) {
    const std::string piece = value.string();
    const int32_t id = vocabulary_.find(piece);
    if (id < 0) return invalid(source, field, "\"" + shown(piece) + "\" is not in the vocabulary");
    return id;
  }
  INFERNODE_ASSIGN(id, value.integer());
  if (id < 0 || static_cast<uint64_t>(id) >= vocabulary_.size())
    return invalid(source, field, "there is no token " + std::to_string(id));
  return static_cast<int32_t>(id);
}

// [{"id": 1, "type": 0}, {"text": "A", "type": 0}]
Status Tokenizer::read_template(const json::Value& parts, const char* field, std::vector<TemplatePart>& into,
                                const std::string& source) const {
  for (const json::Value part : parts.elements()) {
    int64_t type = 0;
    if (!part.get("type").missing()) {
      INFERNODE_ASSIGN(given, part.get("type").integer());
      type = given;
    }
    if (type < 0 || type > INT32_MAX) return invalid(source, field, "the type " + std::to_string(type));
    const std::string text = part.get("text").string();
    INFERNODE_ASSIGN(id, id_of(part.get("id"), field, source));
    if ((id < 0) != (text == "A" || text == "B")) return invalid(source, field, "expected an id, a piece or a text");
    into.push_back({id, text == "B" ? 1u : 0u, static_cast<uint32_t>(type)});
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
  bool first = true;
  for (const int32_t id : ids) {
    if (!has(id)) return error(ErrorCode::kTokenUnknown, {std::to_string(id), std::to_string(vocab_size())});
    if (skip_special && vocabulary_.is_special(id)) continue;
    const std::string_view token = vocabulary_.bytes(id);
    bytes += first ? vocabulary_.first_bytes(id) : token;
    if (!token.empty()) first = false;
  }
  std::string storage;
  const std::string_view text = unicode::well_formed(bytes, storage);
  return text.data() == bytes.data() ? std::move(bytes) : std::move(storage);
}

}  // namespace infernode
