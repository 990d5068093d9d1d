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

struct Range {
  uint64_t offset, bytes, count;
};

}  // namespace

std::string shown(std::string_view piece) {
  std::string storage;
  std::string text(unicode::well_formed(piece.substr(0, 48), storage));
  return piece.size() > 48 ? text + "…" : text;
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
  VocabularyReader(std::string path, const PieceDecoder& decoder) : path_(std::move(path)), decoder_(decoder) {}

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
    if (source.get("charsmap").is_object()) {
      INFERNODE_ASSIGN(charsmap, range(source, "charsmap"));
      INFERNODE_ASSIGN(bytes, read_file_range(path_, charsmap.offset, charsmap.bytes, "charsmap"));
      loaded_.charsmap = std::move(bytes);
    }
    loaded_.piece_count = static_cast<int32_t>(vocabulary_.size());
    return finish();
  }

  Result<LoadedVocabulary> from_json() {
    INFERNODE_ASSIGN(text, read_whole_file(path_, kMaxBytes));
    INFERNODE_ASSIGN(document, json::Document::parse({text.data(), text.size()}, path_));
    const json::Value root = document.root(), vocab = root.get("model").get("vocab");
    const json::Value added = root.get("added_tokens"), merges = root.get("model").get("merges");
    if (!added.is_null() && !added.is_array()) return invalid("added_tokens", "expected an array");
    if (!merges.is_null() && !merges.is_array()) return invalid("model.merges", "expected an array");
    if (vocab.is_object()) {
      INFERNODE_TRY(read_vocab(vocab, added));
    } else if (vocab.is_array() && root.get("model").get("type").view(joined_) == "Unigram") {
      INFERNODE_TRY(read_scored_vocab(vocab, added));
    } else {
      return invalid("model.vocab", "expected an object");
    }
    if (decoder_.finds_bytes())
      for (int b = 0; b < 256; b++)
        if (const int32_t id = vocabulary_.find(byte_piece(static_cast<uint8_t>(b))); id >= 0)
          if (vocabulary_.kind(id) == TokenKind::kNormal)
            vocabulary_.kinds_[static_cast<size_t>(id)] = static_cast<uint8_t>(TokenKind::kByte);
    if (merges.is_array()) INFERNODE_TRY(read_json_merges(merges));
    INFERNODE_TRY(read_json_charsmap(root.get("normalizer")));
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
    INFERNODE_ASSIGN(numbers, Array<double>::make(scores.count, "the vocabulary"));
    for (size_t i = 0; i < scores.count; i++) {
      float score;
      std::memcpy(&score, values.data() + 4 * i, 4);
      if (std::isnan(score)) return invalid("scores", "a score is not a number");
      numbers[i] = static_cast<double>(score);
    }
    vocabulary_.scores_ = std::move(numbers);
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

  // {"piece": id}
  Status read_vocab(const json::Value& vocab, const json::Value& added) {
    std::string storage;
    return read_pieces(
        [&](const auto& use) -> Status {
          for (auto [piece, id] : vocab.members()) {
            INFERNODE_ASSIGN(number, id.integer());
            INFERNODE_TRY(use(piece.view(storage), number));
          }
          return {};
        },
        vocab.size(), added);
  }

  // [["piece", score]], where the place is the id
  Status read_scored_vocab(const json::Value& vocab, const json::Value& added) {
    std::string storage;
    const auto well_formed = [](const json::Value& entry) {
      return entry.is_array() && entry.size() == 2 && entry.at(0).is_string() && entry.at(1).is_number();
    };
    INFERNODE_TRY(read_pieces(
        [&](const auto& use) -> Status {
          int64_t id = 0;
          for (const json::Value entry : vocab.elements()) {
            if (!well_formed(entry))
              return invalid("model.vocab[" + std::to_string(id) + "]", "expected a piece and its score");
            INFERNODE_TRY(use(entry.at(0).view(storage), id++));
          }
          return {};
        },
        vocab.size(), added));
    INFERNODE_ASSIGN(scores, Array<double>::make(vocabulary_.size(), "the vocabulary"));
    size_t id = 0;
    for (const json::Value entry : vocab.elements()) {
      scores[id] = entry.at(1).number();
      if (!std::isfinite(scores[id])) return invalid("model.vocab[" + std::to_string(id) + "]", "the score is too large");
      id++;
    }
    vocabulary_.scores_ = std::move(scores);
    return {};
  }

  // `each(use)` calls use(piece, id) for the model's own `count` pieces; it is called twice.
  template <class Each>
  Status read_pieces(const Each& each, size_t count, const json::Value& added) {
    size_t bytes = 0, entries = count + added.size();
    int64_t last = -1;
    std::string storage;
    const auto measure = [&](std::string_view piece, int64_t number) -> Status {
      if (number < 0 || static_cast<uint64_t>(number) >= 4 * entries + kMaxHoles)
        return invalid("model.vocab", "the id " + std::to_string(number) + " of \"" + shown(piece) + "\" is far out of range");
      last = std::max(last, number);
      bytes += piece.size();
      return {};
    };
    INFERNODE_TRY(each(measure));
    loaded_.piece_count = static_cast<int32_t>(last + 1);
    for (const json::Value token : added.elements()) {
      if (!token.get("content").is_string()) return invalid("added_tokens", "a token without content");
      INFERNODE_ASSIGN(number, token.get("id").integer());
      INFERNODE_TRY(measure(token.get("content").view(storage), number));
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
    INFERNODE_TRY(each([&](std::string_view piece, int64_t number) -> Status {
      if (kinds[static_cast<size_t>(number)] != 0)
        return invalid("model.vocab", "\"" + shown(piece) + "\" has an id that another piece has");
      return add(static_cast<size_t>(number), piece, TokenKind::kNormal);
    }));
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

  // The table of the (only) Precompiled normalizer, base64.
  Status read_json_charsmap(const json::Value& normalizer) {
    if (normalizer.get("type").view(joined_) == "Precompiled") {
      const std::string_view text = normalizer.get("precompiled_charsmap").view(joined_);
      INFERNODE_ASSIGN(bytes, Array<char>::make(text.size() / 4 * 3 + 3, "the normalization table"));
      size_t n = 0;
      uint32_t bits = 0, count = 0;
      for (const char c : text) {
        if (c == '=') break;
        const int value = c >= 'A' && c <= 'Z'   ? c - 'A'
                          : c >= 'a' && c <= 'z' ? c - 'a' + 26
                          : c >= '0' && c <= '9' ? c - '0' + 52
                          : c == '+'             ? 62
                          : c == '/'             ? 63
                                                 : -1;
        if (value < 0) return invalid("precompiled_charsmap", "not base64");
        bits = bits << 6 | static_cast<uint32_t>(value);
        if (++count % 4 != 1) bytes[n++] = static_cast<char>(bits >> (count % 4 == 2 ? 4 : count % 4 == 3 ? 2 : 0));
      }
      // Array has no size of its own beside its room: the exact length counts.
      INFERNODE_ASSIGN(exact, Array<char>::make(n, "the normalization table"));
      if (n > 0) std::memcpy(exact.data(), bytes.data(), n);
      loaded_.charsmap = std::move(exact);
      return {};
    }
    for (const json::Value inner : normalizer.get("normalizers").elements()) INFERNODE_TRY(read_json_charsmap(inner));
    return {};
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

  // Works out the bytes that each piece stands for.
  Result<LoadedVocabulary> finish() {
    INFERNODE_ASSIGN(text, Array<char>::make(vocabulary_.text_.size() + 64, "the vocabulary"));
    INFERNODE_ASSIGN(bytes, Array<Vocabulary::Slice>::make(vocabulary_.size(), "the vocabulary"));
    INFERNODE_ASSIGN(first_bytes,
                     Array<Vocabulary::Slice>::make(decoder_.first_differs() ? vocabulary_.size() : 0, "the vocabulary"));
    size_t used = 0;
    std::string decoded, first;
    const auto add = [&](const std::string& piece, Vocabulary::Slice& slice) -> Status {
      if (used + piece.size() > text.size()) {
        INFERNODE_ASSIGN(larger, Array<char>::make(2 * (used + piece.size()), "the vocabulary"));
        if (used > 0) std::memcpy(larger.data(), text.data(), used);
        text = std::move(larger);
      }
      if (used + piece.size() > UINT32_MAX) return invalid("the vocabulary", "too large");
      if (!piece.empty()) std::memcpy(text.data() + used, piece.data(), piece.size());
      slice = {static_cast<uint32_t>(used), static_cast<uint32_t>(piece.size())};
      used += piece.size();
      return {};
    };
    for (size_t i = 0; i < vocabulary_.size(); i++) {
      const int32_t id = static_cast<int32_t>(i);
      decoder_.decode(vocabulary_.piece(id), vocabulary_.kind(id), false, decoded);
      INFERNODE_TRY(add(decoded, bytes[i]));
      if (!decoder_.first_differs()) continue;
      decoder_.decode(vocabulary_.piece(id), vocabulary_.kind(id), true, first);
      const Vocabulary::Slice later = bytes[i];
      if (decoded.ends_with(first)) {
        const uint32_t less = later.length - static_cast<uint32_t>(first.size());
        first_bytes[i] = {later.offset + less, later.length - less};
      } else {
        INFERNODE_TRY(add(first, first_bytes[i]));
      }
    }
    vocabulary_.bytes_text_ = std::move(text);
    vocabulary_.bytes_ = std::move(bytes);
    vocabulary_.first_bytes_ = std::move(first_bytes);
    loaded_.vocabulary = std::move(vocabulary_);
    return std::move(loaded_);
  }

  std::string path_;
  const PieceDecoder& decoder_;
  Vocabulary vocabulary_;
  LoadedVocabulary loaded_;
  std::string joined_;
};

Result<LoadedVocabulary> load_vocabulary(const json::Value& source, const PieceDecoder& decoder) {
  const std::string from = source.get("from").string(), path = source.get("file").string();
  VocabularyReader reader(path, decoder);
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
