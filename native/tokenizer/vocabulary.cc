// Both sources end in the same tables. Every id, length and reference of the files is checked here, once.
#include "tokenizer/vocabulary.h"

#include <algorithm>
#include <cmath>

#include "tokenizer/file_range.h"
#include "tokenizer/unicode.h"

namespace infernode {
namespace {

constexpr uint64_t kMaxBytes = uint64_t{512} << 20;
// Ids far beyond the number of pieces would make tables of holes.
constexpr size_t kMaxHoles = 65536;
// A table at most half full needs a few probes; this many are made by a file that was built to collide.
constexpr size_t kMaxProbes = 2000;

uint64_t hash(std::string_view text) {
  uint64_t h = 0x9E3779B97F4A7C15u ^ text.size();
  const char* p = text.data();
  size_t left = text.size();
  for (; left >= 8; p += 8, left -= 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    h = (h ^ word) * 0xD6E8FEB86659FD93u;
    h ^= h >> 32;
  }
  uint64_t word = 0;
  std::memcpy(&word, p, left);
  h = (h ^ word) * 0xD6E8FEB86659FD93u;
  return h ^ h >> 32;
}

// <0x0A> gives 10, anything else -1.
int byte_of(std::string_view piece) {
  if (piece.size() != 6 || piece.substr(0, 3) != "<0x" || piece[5] != '>') return -1;
  int value = 0;
  for (const char c : piece.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

struct Range {
  uint64_t offset, bytes, count;
};

}  // namespace

std::string shown(std::string_view piece) {
  std::string storage;
  std::string text(unicode::well_formed(piece.substr(0, 48), storage));
  return piece.size() > 48 ? text + "…" : text;
}

uint32_t byte_level_character(uint8_t byte) {
  // Printable bytes of Latin-1 are themselves; the others follow from U+0100 on, in order.
  const auto printable = [](int b) { return (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE; };
  if (printable(byte)) return byte;
  uint32_t character = 0x100;
  for (int b = 0; b < byte; b++) character += !printable(b);
  return character;
}

int32_t Vocabulary::find(std::string_view piece) const {
  if (slots_.size() == 0) return -1;
  const size_t mask = slots_.size() - 1;
  for (size_t i = hash(piece) & mask; slots_[i] != 0; i = (i + 1) & mask) {
    const int32_t id = static_cast<int32_t>(slots_[i] - 1);
    if (this->piece(id) == piece) return id;
  }
  return -1;
}

class VocabularyReader {
 public:
  VocabularyReader(std::string path, Spelling spelling) : path_(std::move(path)), spelling_(spelling) {}

  Result<LoadedVocabulary> from_gguf(const json::Value& source) {
    INFERNODE_ASSIGN(tokens, range(source, "tokens"));
    INFERNODE_TRY(read_tokens(tokens));
    if (source.get("types").is_object()) {
      INFERNODE_TRY(read_types(source));
    } else {
      for (uint8_t& kind : vocabulary_.kinds_) kind = static_cast<uint8_t>(TokenKind::kNormal);
    }
    // Ids that the metadata gives a role to, where a file has no types.
    for (const json::Value element : source.get("control").elements()) {
      INFERNODE_ASSIGN(id, element.integer());
      if (id < 0 || id >= static_cast<int64_t>(vocabulary_.size()))
        return invalid("control", "there is no token " + std::to_string(id));
      vocabulary_.kinds_[static_cast<size_t>(id)] = static_cast<uint8_t>(TokenKind::kControl);
    }
    if (source.get("scores").is_object()) INFERNODE_TRY(read_scores(source));
    INFERNODE_TRY(index());
    for (int32_t id = 0; id < static_cast<int32_t>(vocabulary_.size()); id++) {
      const TokenKind kind = vocabulary_.kind(id);
      if (kind != TokenKind::kControl && kind != TokenKind::kUnknown && kind != TokenKind::kUserDefined) continue;
      if (!vocabulary_.piece(id).empty())
        loaded_.added.push_back({id, kind != TokenKind::kUserDefined, false, false, false, false});
    }
    if (source.get("merges").is_object()) INFERNODE_TRY(read_gguf_merges(source));
    return finish();
  }

  Result<LoadedVocabulary> from_json() {
    INFERNODE_ASSIGN(text, read_whole_file(path_, kMaxBytes));
    INFERNODE_ASSIGN(document, json::Document::parse({text.data(), text.size()}, path_));
    const json::Value root = document.root(), vocab = root.get("model").get("vocab");
    if (!vocab.is_object()) return invalid("model.vocab", "expected an object");
    INFERNODE_TRY(read_vocab(vocab, root.get("added_tokens")));
    const json::Value merges = root.get("model").get("merges");
    if (merges.is_array()) INFERNODE_TRY(read_json_merges(merges));
    return finish();
  }

 private:
  Error invalid(std::string field, std::string reason) const {
    return error(ErrorCode::kTokenizerInvalid, {path_, std::move(field), std::move(reason)});
  }

  Result<Range> range(const json::Value& source, const char* field) const {
    const json::Value value = source.get(field);
    INFERNODE_ASSIGN(offset, value.get("offset").integer());
    INFERNODE_ASSIGN(bytes, value.get("bytes").integer());
    INFERNODE_ASSIGN(count, value.get("count").integer());
    if (offset < 0 || bytes < 0 || count < 0) return value.corrupt("a negative range");
    if (static_cast<uint64_t>(bytes) > kMaxBytes) return invalid(field, "larger than " + std::to_string(kMaxBytes) + " bytes");
    return Range{static_cast<uint64_t>(offset), static_cast<uint64_t>(bytes), static_cast<uint64_t>(count)};
  }

  Status read_tokens(const Range& tokens) {
    if (tokens.count == 0) return invalid("tokens", "the vocabulary is empty");
    if (tokens.count > tokens.bytes / 8 || tokens.count > INT32_MAX)
      return invalid("tokens", "more strings than bytes for them");
    INFERNODE_ASSIGN(text, read_file_range(path_, tokens.offset, tokens.bytes, "tokens"));
    INFERNODE_ASSIGN(pieces, Array<Vocabulary::Slice>::make(tokens.count, "the vocabulary"));
    INFERNODE_ASSIGN(kinds, Array<uint8_t>::make(tokens.count, "the vocabulary"));
    uint64_t at = 0;
    for (uint64_t i = 0; i < tokens.count; i++) {
      INFERNODE_ASSIGN(piece, string_at(text, at, "tokens"));
      pieces[i] = {static_cast<uint32_t>(piece.data() - text.data()), static_cast<uint32_t>(piece.size())};
    }
    vocabulary_.text_ = std::move(text);
    vocabulary_.pieces_ = std::move(pieces);
    vocabulary_.kinds_ = std::move(kinds);
    return {};
  }

  // A GGUF string: its length as u64, then its bytes. Moves `at` behind it.
  Result<std::string_view> string_at(const Array<char>& text, uint64_t& at, const char* field) const {
    uint64_t length = 0;
    if (text.size() - at < 8) return invalid(field, "ends inside of a string");
    std::memcpy(&length, text.data() + at, 8);
    at += 8;
    if (length > text.size() - at) return invalid(field, "ends inside of a string");
    const std::string_view found(text.data() + at, length);
    at += length;
    return found;
  }

  Status read_types(const json::Value& source) {
    INFERNODE_ASSIGN(types, range(source, "types"));
    if (types.count != vocabulary_.size() || types.bytes != types.count * 4) return invalid("types", "not one for each token");
    INFERNODE_ASSIGN(values, read_file_range(path_, types.offset, types.bytes, "types"));
    for (size_t i = 0; i < types.count; i++) {
      int32_t kind;
      std::memcpy(&kind, values.data() + 4 * i, 4);
      if (kind < 0 || kind > static_cast<int32_t>(TokenKind::kByte))
        return invalid("types", "there is no token type " + std::to_string(kind));
      vocabulary_.kinds_[i] = static_cast<uint8_t>(kind == 0 ? static_cast<int32_t>(TokenKind::kNormal) : kind);
    }
    return {};
  }

  Status read_scores(const json::Value& source) {
    INFERNODE_ASSIGN(scores, range(source, "scores"));
    if (scores.count != vocabulary_.size() || scores.bytes != scores.count * 4)
      return invalid("scores", "not one for each token");
    INFERNODE_ASSIGN(values, read_file_range(path_, scores.offset, scores.bytes, "scores"));
    INFERNODE_ASSIGN(floats, Array<float>::make(scores.count, "the vocabulary"));
    std::memcpy(floats.data(), values.data(), scores.bytes);
    for (const float score : floats)
      if (std::isnan(score)) return invalid("scores", "a score is not a number");
    vocabulary_.scores_ = std::move(floats);
    return {};
  }

  Status read_gguf_merges(const json::Value& source) {
    INFERNODE_ASSIGN(merges, range(source, "merges"));
    if (merges.count > merges.bytes / 8) return invalid("merges", "more strings than bytes for them");
    INFERNODE_ASSIGN(text, read_file_range(path_, merges.offset, merges.bytes, "merges"));
    INFERNODE_ASSIGN(rules, Array<MergeRule>::make(merges.count, "the merges"));
    uint64_t at = 0;
    for (size_t rank = 0; rank < merges.count; rank++) {
      INFERNODE_ASSIGN(merge, string_at(text, at, "merges"));
      INFERNODE_TRY(add_merge(merge, rank, rules[rank]));
    }
    loaded_.merges = std::move(rules);
    return {};
  }

  // "left right"
  Status add_merge(std::string_view merge, size_t rank, MergeRule& rule) {
    const size_t space = merge.find(' ', 1);
    if (space == std::string_view::npos)
      return invalid("merges[" + std::to_string(rank) + "]", "not two pieces: \"" + shown(merge) + '"');
    return add_merge(merge.substr(0, space), merge.substr(space + 1), rank, rule);
  }

  Status add_merge(std::string_view left, std::string_view right, size_t rank, MergeRule& rule) {
    joined_.assign(left).append(right);
    rule = {vocabulary_.find(left), vocabulary_.find(right), vocabulary_.find(joined_)};
    if (rule.left >= 0 && rule.right >= 0 && rule.merged >= 0) return {};
    const std::string_view absent = rule.left < 0 ? left : rule.right < 0 ? right : std::string_view(joined_);
    return invalid("merges[" + std::to_string(rank) + "]", "\"" + shown(absent) + "\" is not in the vocabulary");
  }

  Status read_json_merges(const json::Value& merges) {
    INFERNODE_ASSIGN(rules, Array<MergeRule>::make(merges.size(), "the merges"));
    size_t rank = 0;
    std::string left, right;
    for (const json::Value merge : merges.elements()) {
      if (merge.is_array() && merge.size() == 2 && merge.at(0).is_string() && merge.at(1).is_string()) {
        INFERNODE_TRY(add_merge(merge.at(0).view(left), merge.at(1).view(right), rank, rules[rank]));
      } else if (merge.is_string()) {
        INFERNODE_TRY(add_merge(merge.view(left), rank, rules[rank]));
      } else {
        return invalid("model.merges[" + std::to_string(rank) + "]", "expected a pair of strings");
      }
      rank++;
    }
    loaded_.merges = std::move(rules);
    return {};
  }

  Status read_vocab(const json::Value& vocab, const json::Value& added) {
    size_t bytes = 0, entries = vocab.size() + added.size();
    int64_t last = -1;
    std::string storage;
    const auto measure = [&](const json::Value& id, std::string_view piece) -> Status {
      INFERNODE_ASSIGN(number, id.integer());
      if (number < 0 || static_cast<uint64_t>(number) >= 4 * entries + kMaxHoles)
        return invalid("model.vocab", "the id " + std::to_string(number) + " of \"" + shown(piece) + "\" is far out of range");
      last = std::max(last, number);
      bytes += piece.size();
      return {};
    };
    for (auto [piece, id] : vocab.members()) INFERNODE_TRY(measure(id, piece.view(storage)));
    for (const json::Value token : added.elements()) {
      if (!token.get("content").is_string()) return invalid("added_tokens", "a token without content");
      INFERNODE_TRY(measure(token.get("id"), token.get("content").view(storage)));
    }
    if (last < 0) return invalid("model.vocab", "the vocabulary is empty");

    INFERNODE_ASSIGN(text, Array<char>::make(bytes, "the vocabulary"));
    INFERNODE_ASSIGN(pieces, Array<Vocabulary::Slice>::make(static_cast<size_t>(last) + 1, "the vocabulary"));
    INFERNODE_ASSIGN(kinds, Array<uint8_t>::make(static_cast<size_t>(last) + 1, "the vocabulary"));
    size_t used = 0;
    const auto add = [&](size_t id, std::string_view piece, TokenKind kind) -> Status {
      const std::string_view present(text.data() + pieces[id].offset, pieces[id].length);
      if (kinds[id] != 0 && present != piece)
        return invalid("model.vocab",
                       "\"" + shown(present) + "\" and \"" + shown(piece) + "\" have the id " + std::to_string(id));
      if (kinds[id] == 0) {
        if (!piece.empty()) std::memcpy(text.data() + used, piece.data(), piece.size());
        pieces[id] = {static_cast<uint32_t>(used), static_cast<uint32_t>(piece.size())};
        used += piece.size();
      }
      kinds[id] = static_cast<uint8_t>(kind);
      return {};
    };
    for (auto [piece, id] : vocab.members()) {
      const size_t number = static_cast<size_t>(*id.integer());
      if (kinds[number] != 0)
        return invalid("model.vocab", "\"" + shown(piece.view(storage)) + "\" has an id that another piece has");
      INFERNODE_TRY(add(number, piece.view(storage), TokenKind::kNormal));
    }
    for (const json::Value token : added.elements()) {
      const bool special = token.get("special").boolean();
      const int32_t id = static_cast<int32_t>(*token.get("id").integer());
      INFERNODE_TRY(add(static_cast<size_t>(id), token.get("content").view(storage),
                        special ? TokenKind::kControl : TokenKind::kUserDefined));
      // Those without content are never found in a text; the library that writes these files ignores them too.
      if (storage.empty() && token.get("content").raw().empty()) continue;
      loaded_.added.push_back({id, special, token.get("lstrip").boolean(), token.get("rstrip").boolean(),
                               token.get("single_word").boolean(), token.get("normalized").boolean()});
    }
    vocabulary_.text_ = std::move(text);
    vocabulary_.pieces_ = std::move(pieces);
    vocabulary_.kinds_ = std::move(kinds);
    return index();
  }

  // The table that finds pieces. Empty pieces (ids kept free) are not in it.
  Status index() {
    size_t capacity = 16;
    while (capacity < 2 * vocabulary_.size()) capacity *= 2;
    INFERNODE_ASSIGN(slots, Array<uint32_t>::make(capacity, "the vocabulary"));
    for (uint32_t id = 0; id < vocabulary_.size(); id++) {
      const std::string_view piece = vocabulary_.piece(static_cast<int32_t>(id));
      if (piece.empty()) continue;
      size_t i = hash(piece) & (capacity - 1), probes = 0;
      for (; slots[i] != 0; i = (i + 1) & (capacity - 1)) {
        if (vocabulary_.piece(static_cast<int32_t>(slots[i] - 1)) == piece)
          return invalid("tokens",
                         "\"" + shown(piece) + "\" has the ids " + std::to_string(slots[i] - 1) + " and " + std::to_string(id));
        if (++probes > kMaxProbes) return invalid("tokens", "the pieces are made to collide");
      }
      slots[i] = id + 1;
    }
    vocabulary_.slots_ = std::move(slots);
    return {};
  }

  // Works out the bytes that each piece stands for; never more than its spelling has.
  Result<LoadedVocabulary> finish() {
    INFERNODE_ASSIGN(text, Array<char>::make(std::max<size_t>(vocabulary_.text_.size(), 1), "the vocabulary"));
    INFERNODE_ASSIGN(bytes, Array<Vocabulary::Slice>::make(vocabulary_.size(), "the vocabulary"));
    int16_t byte_for[0x200];
    std::fill(std::begin(byte_for), std::end(byte_for), int16_t{-1});
    for (int b = 0; b < 256; b++) byte_for[byte_level_character(static_cast<uint8_t>(b))] = static_cast<int16_t>(b);
    size_t used = 0;
    for (int32_t id = 0; id < static_cast<int32_t>(vocabulary_.size()); id++) {
      const size_t start = used;
      const std::string_view piece = vocabulary_.piece(id);
      const TokenKind kind = vocabulary_.kind(id);
      const bool literal = kind == TokenKind::kControl || kind == TokenKind::kUnknown || kind == TokenKind::kUserDefined;
      const char *p = piece.data(), *end = p + piece.size();
      const int byte = spelling_ == Spelling::kSpaceMarks && kind == TokenKind::kByte ? byte_of(piece) : -1;
      if (byte >= 0) {
        text[used++] = static_cast<char>(byte);
        p = end;
      }
      while (p < end) {
        const unicode::Character c = unicode::decode(p, end);
        if (spelling_ == Spelling::kByteLevel && !literal) {
          if (c.code_point >= 0x200 || byte_for[c.code_point] < 0) break;  // not of the alphabet: taken as it is
          text[used++] = static_cast<char>(byte_for[c.code_point]);
        } else if (spelling_ == Spelling::kSpaceMarks && kind != TokenKind::kControl && c.code_point == 0x2581) {
          text[used++] = ' ';
        } else {
          std::memcpy(text.data() + used, p, c.length);
          used += c.length;
        }
        p += c.length;
      }
      if (p < end) {
        used = start + piece.size();
        std::memcpy(text.data() + start, piece.data(), piece.size());
      }
      bytes[static_cast<size_t>(id)] = {static_cast<uint32_t>(start), static_cast<uint32_t>(used - start)};
    }
    vocabulary_.bytes_text_ = std::move(text);
    vocabulary_.bytes_ = std::move(bytes);
    loaded_.vocabulary = std::move(vocabulary_);
    return std::move(loaded_);
  }

  std::string path_;
  Spelling spelling_;
  Vocabulary vocabulary_;
  LoadedVocabulary loaded_;
  std::string joined_;
};

Result<LoadedVocabulary> load_vocabulary(const json::Value& source, Spelling spelling) {
  const std::string from = source.get("from").string(), path = source.get("file").string();
  VocabularyReader reader(path, spelling);
  if (from == "gguf") return reader.from_gguf(source);
  if (from == "tokenizer.json") return reader.from_json();
  return error(ErrorCode::kTokenizerUnsupported, {path, "vocabulary source", from});
}

Result<std::string> tokenizer_json_skeleton(const std::string& path) {
  INFERNODE_ASSIGN(text, read_whole_file(path, kMaxBytes));
  INFERNODE_ASSIGN(document, json::Document::parse({text.data(), text.size()}, path));
  if (!document.root().is_object()) return error(ErrorCode::kTokenizerInvalid, {path, "the file", "expected an object"});
  std::string out;
  const auto copy = [&out](const json::Value& object, auto&& skip, auto&& nested) {
    out += '{';
    bool first = true;
    for (auto [key, value] : object.members()) {
      const std::string name = key.string();
      if (skip(name)) continue;
      if (!first) out += ',';
      first = false;
      json::append_quoted(out, name);
      out += ':';
      if (nested(name, value)) continue;
      if (value.is_string()) out += '"';
      out += value.raw();
      if (value.is_string()) out += '"';
    }
    out += '}';
  };
  copy(
      document.root(), [](const std::string& name) { return name == "added_tokens"; },
      [&](const std::string& name, const json::Value& value) {
        if (name != "model" || !value.is_object()) return false;
        copy(
            value, [](const std::string& field) { return field == "vocab" || field == "merges"; },
            [](const std::string&, const json::Value&) { return false; });
        return true;
      });
  return out;
}

}  // namespace infernode
