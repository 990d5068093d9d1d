// Text to ids: added tokens are cut out, the rest is normalized and split into words, each word goes through the model.
#include <algorithm>

#include "tokenizer/tokenizer.h"
#include "tokenizer/unicode.h"

namespace infernode {
namespace {

constexpr size_t kMaxText = size_t{256} << 20, kMaxMarked = size_t{1} << 30;
constexpr char kSpaceMark[] = "\xE2\x96\x81";

bool continues(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// A stretch of text on its way to the model. `source[i]` tells where, in the stretch of the original text that begins at
// `base`, the character starts that byte i came from; without it they are the same.
struct Stretch {
  std::string_view text;
  std::string_view original;
  uint32_t base;
  const std::vector<uint32_t>* source = nullptr;
};

// Words that came before in the same stretch: texts repeat their words, and most of them need several merges. Direct-mapped.
class SeenWords {
 public:
  struct Word {
    std::string_view text;
    size_t first, count;  // of its ids
    uint32_t generation;
  };
  // Forgets all words.
  void restart() { generation_++; }
  Word& place(std::string_view word) {
    if (words_.empty()) words_.resize(kSlots);
    uint64_t h = word.size();
    for (const char c : word) h = (h ^ static_cast<unsigned char>(c)) * 0x9E3779B97F4A7C15u;
    return words_[(h ^ h >> 32) % kSlots];
  }
  bool holds(const Word& place, std::string_view word) const { return place.generation == generation_ && place.text == word; }
  void put(Word& place, std::string_view word, size_t first, size_t count) const { place = {word, first, count, generation_}; }

 private:
  static constexpr size_t kSlots = 2048;
  std::vector<Word> words_;
  uint32_t generation_ = 1;
};

}  // namespace

// One call of encode().
class Tokenizer::Session {
 public:
  Session(const Tokenizer& tokenizer, const EncodeOptions& options, Encoding& out)
      : tokenizer_(tokenizer), options_(options), out_(out), sink_{out.ids, options.offsets ? &out.offsets : nullptr} {}

  // What `parts` makes of the texts.
  Status run(const std::vector<TemplatePart>& parts, const std::string_view (&texts)[2]) {
    uint32_t end = 0;  // of the last text, in UTF-16: where tokens after it are
    for (const TemplatePart& part : parts) {
      if (part.id < 0) {
        INFERNODE_TRY(encode_text(texts[part.text], end));
      } else if (options_.add_special) {
        sink_.base = 0;
        sink_.add(part.id, end, 0);
      }
      if (options_.type_ids) out_.type_ids.resize(out_.ids.size(), part.type_id);
    }
    return {};
  }

 private:
  Status encode_text(std::string_view text, uint32_t& end) {
    std::string storage;
    const size_t first = out_.ids.size();
    text = unicode::well_formed(text, storage);
    remembers_ = text.size() >= 512;
    matches_.steps = Regex::steps_for(text.size());
    for (size_t from = 0;;) {
      const AddedTokens::Match match = tokenizer_.added_raw_.next(text, from, options_.parse_special);
      INFERNODE_TRY(encode_between(text.substr(from, match.start - from), static_cast<uint32_t>(from)));
      if (match.id < 0) break;
      sink_.base = 0;
      sink_.add(match.id, static_cast<uint32_t>(match.start), static_cast<uint32_t>(match.end - match.start));
      from = match.end;
    }
    if (options_.offsets) end = count_in_utf16(text, first);
    if (options_.offsets && tokenizer_.trims_offsets_) trim_offsets(first);
    return {};
  }

  // Text between added tokens.
  Status encode_between(std::string_view text, uint32_t base) {
    if (text.empty()) return {};
    if (tokenizer_.space_marks_) return encode_marked(text, base);
    Stretch stretch{text, text, base};
    std::string normalized;
    std::vector<uint32_t> source;
    if (!tokenizer_.normalizer_.empty()) {
      INFERNODE_ASSIGN(after, tokenizer_.normalizer_.run(text, normalized, options_.offsets ? &source : nullptr));
      stretch.text = after;
      if (!source.empty()) stretch.source = &source;
    }
    return encode_normalized(stretch);
  }

  Status encode_normalized(const Stretch& stretch) {
    for (size_t from = 0;;) {
      const AddedTokens::Match match = tokenizer_.added_normalized_.next(stretch.text, from, options_.parse_special);
      INFERNODE_TRY(encode_prefixed(stretch, from, match.start));
      if (match.id < 0) return {};
      const size_t first = spans();
      sink_.base = 0;
      sink_.add(match.id, static_cast<uint32_t>(match.start), static_cast<uint32_t>(match.end - match.start));
      to_original(stretch, first);
      from = match.end;
    }
  }

  // Byte-level BPE: with a space before it, if the tokenizer wants one and there is none.
  Status encode_prefixed(const Stretch& whole, size_t start, size_t end) {
    if (start == end) return {};
    const std::string_view text = whole.text.substr(start, end - start);
    if (tokenizer_.add_space_prefix_ && text[0] != ' ') {
      const std::string prefixed = " " + std::string(text);
      std::vector<uint32_t> source;
      if (options_.offsets) {
        source.reserve(prefixed.size());
        for (size_t i = 0; i < prefixed.size(); i++) source.push_back(origin(whole, start + (i == 0 ? 0 : i - 1)));
      }
      return encode_words({prefixed, whole.original, whole.base, options_.offsets ? &source : nullptr});
    }
    if (!whole.source)
      return encode_words({text, whole.original.substr(start, end - start), whole.base + static_cast<uint32_t>(start)});
    const std::vector<uint32_t> source(whole.source->begin() + static_cast<ptrdiff_t>(start),
                                       whole.source->begin() + static_cast<ptrdiff_t>(end));
    return encode_words({text, whole.original, whole.base, &source});
  }

  // Where the character of byte `at` starts in the original.
  static uint32_t origin(const Stretch& stretch, size_t at) {
    while (at > 0 && continues(stretch.text[at])) at--;
    return stretch.source ? (*stretch.source)[at] : static_cast<uint32_t>(at);
  }

  Status encode_words(const Stretch& stretch) {
    if (tokenizer_.metaspace_.used) return encode_metaspaced(stretch);
    seen_.restart();
    const size_t first = spans();
    INFERNODE_TRY(
        tokenizer_.pre_tokenizer_.split(stretch.text, matches_, [&](std::string_view piece) { return encode_piece(stretch, piece); }));
    to_original(stretch, first);
    return {};
  }

  // Pieces of the text, each with marks instead of its spaces, make a new text; its pieces are split further.
  Status encode_metaspaced(const Stretch& stretch) {
    const Metaspace& metaspace = tokenizer_.metaspace_;
    std::string marked;
    std::vector<uint32_t> source, ends;
    const auto add = [&](std::string_view bytes, size_t from) {
      marked += bytes;
      if (options_.offsets) source.resize(marked.size(), origin(stretch, from));
    };
    INFERNODE_TRY(tokenizer_.pre_tokenizer_.split(stretch.text, matches_, [&](std::string_view piece) -> Status {
      const size_t at = static_cast<size_t>(piece.data() - stretch.text.data());
      const bool prepends = metaspace.prepend == Metaspace::Prepend::kAlways ||
                            (metaspace.prepend == Metaspace::Prepend::kFirst && stretch.base + origin(stretch, at) == 0);
      if (prepends && piece[0] != ' ' && !piece.starts_with(metaspace.mark)) add(metaspace.mark, at);
      const size_t start = ends.empty() ? 0 : ends.back();
      for (size_t i = 0; i < piece.size();) {
        const size_t length = unicode::decode(piece.data() + i, piece.data() + piece.size()).length;
        const std::string_view character = piece[i] == ' ' ? std::string_view(metaspace.mark) : piece.substr(i, length);
        if (metaspace.split && character == metaspace.mark && marked.size() > start)
          ends.push_back(static_cast<uint32_t>(marked.size()));
        add(character, at + i);
        i += length;
      }
      ends.push_back(static_cast<uint32_t>(marked.size()));
      if (marked.size() > kMaxMarked)
        return error(ErrorCode::kInvalidArgument, {"text", "at most 1 GiB with marks for spaces", "more"});
      return {};
    }));
    const Stretch whole{marked, stretch.original, stretch.base, options_.offsets ? &source : nullptr};
    seen_.restart();
    const size_t first = spans();
    uint32_t start = 0;
    for (const uint32_t end : ends) {
      INFERNODE_TRY(tokenizer_.after_metaspace_.split(whole.text.substr(start, end - start), matches_,
                                                      [&](std::string_view piece) { return encode_piece(whole, piece); }));
      start = end;
    }
    to_original(whole, first);
    return {};
  }

  // SentencePiece: spaces become marks, and one comes before the text.
  Status encode_marked(std::string_view text, uint32_t base) {
    std::string marked;
    std::vector<uint32_t> source;
    marked.reserve(text.size() + text.size() / 2);
    const auto add = [&](std::string_view bytes, size_t from) {
      marked += bytes;
      if (options_.offsets) source.resize(marked.size(), static_cast<uint32_t>(from));
    };
    if (tokenizer_.add_space_prefix_) add(kSpaceMark, 0);
    for (size_t i = 0; i < text.size();) {
      const size_t length = unicode::decode(text.data() + i, text.data() + text.size()).length;
      add(text[i] == ' ' ? std::string_view(kSpaceMark) : text.substr(i, length), i);
      i += length;
    }
    const Stretch stretch{marked, text, base, options_.offsets ? &source : nullptr};
    seen_.restart();
    const size_t first = spans();
    INFERNODE_TRY(encode_piece(stretch, stretch.text));
    to_original(stretch, first);
    return {};
  }

  // As one word, or as several where that makes no difference.
  Status encode_piece(const Stretch& stretch, std::string_view piece) {
    if (!tokenizer_.cuts_at_marks_) return encode_word(stretch, piece);
    while (!piece.empty()) {
      const std::string_view word = piece.substr(0, word_end(piece));
      INFERNODE_TRY(encode_word(stretch, word));
      piece.remove_prefix(word.size());
    }
    return {};
  }

  // Marks, then everything up to the next mark that no piece can join to what is before it.
  size_t word_end(std::string_view text) const {
    size_t at = 0;
    do {
      while (text.substr(at, 3) == kSpaceMark) at += 3;
      at = std::min(text.find(kSpaceMark, at), text.size());
    } while (at < text.size() && tokenizer_.joins_space_mark_[static_cast<unsigned char>(text[at - 1])]);
    return at;
  }

  Status encode_word(const Stretch& stretch, std::string_view word) {
    const uint32_t base = static_cast<uint32_t>(word.data() - stretch.text.data());
    sink_.base = base;
    // Single bytes are quick anyway, and long words rarely come back.
    if (!remembers_ || word.size() < 2 || word.size() > 48) return tokenizer_.model_->encode(word, scratch_, sink_);
    SeenWords::Word& place = seen_.place(word);
    if (seen_.holds(place, word)) {
      const uint32_t moved = base - static_cast<uint32_t>(place.text.data() - stretch.text.data());
      for (size_t i = place.first; i < place.first + place.count; i++) {
        const int32_t id = out_.ids[i];
        out_.ids.push_back(id);
        if (!options_.offsets) continue;
        const uint32_t start = out_.offsets[2 * i], end = out_.offsets[2 * i + 1];
        out_.offsets.push_back(start + moved);
        out_.offsets.push_back(end + moved);
      }
      return {};
    }
    const size_t first = out_.ids.size();
    INFERNODE_TRY(tokenizer_.model_->encode(word, scratch_, sink_));
    seen_.put(place, word, first, out_.ids.size() - first);
    return {};
  }

  size_t spans() const { return out_.offsets.size(); }

  // Spans from `first` on: from bytes of the stretch to bytes of the whole text, widened to whole characters.
  void to_original(const Stretch& stretch, size_t first) {
    for (size_t i = first; i < out_.offsets.size(); i += 2) {
      size_t start = out_.offsets[i], end = out_.offsets[i + 1];
      while (start > 0 && continues(stretch.text[start])) start--;
      while (end < stretch.text.size() && continues(stretch.text[end])) end++;
      if (stretch.source) {
        const char* last = stretch.original.data() + origin(stretch, end - 1);
        start = origin(stretch, start);
        end = static_cast<size_t>(last - stretch.original.data()) +
              unicode::decode(last, stretch.original.data() + stretch.original.size()).length;
      }
      out_.offsets[i] = stretch.base + static_cast<uint32_t>(start);
      out_.offsets[i + 1] = stretch.base + static_cast<uint32_t>(end);
    }
  }

  // Starts hardly ever go back, and then by a character, and so do ends: a cursor for each serves them all. (One for both would
  // run to and fro where many ids share a long place.) From the id `first` on. Gives the length of the text.
  uint32_t count_in_utf16(std::string_view text, size_t first) {
    struct Cursor {
      size_t at = 0;
      uint32_t units = 0;
    };
    const auto width = [&](size_t i) -> uint32_t {
      return continues(text[i]) ? 0 : static_cast<unsigned char>(text[i]) >= 0xF0 ? 2 : 1;
    };
    const auto move = [&](Cursor& cursor, size_t to) {
      for (; cursor.at < to; cursor.at++) cursor.units += width(cursor.at);
      for (; cursor.at > to; cursor.at--) cursor.units -= width(cursor.at - 1);
      return cursor.units;
    };
    Cursor start, end;
    for (size_t i = 2 * first; i < out_.offsets.size(); i += 2) {
      out_.offsets[i] = move(start, out_.offsets[i]);
      out_.offsets[i + 1] = move(end, out_.offsets[i + 1]);
    }
    return move(end, text.size());
  }

  void trim_offsets(size_t first) {
    for (size_t i = first; i < out_.ids.size(); i++) {
      uint32_t &start = out_.offsets[2 * i], &end = out_.offsets[2 * i + 1];
      const std::string_view bytes = tokenizer_.vocabulary_.bytes(out_.ids[i]);
      uint32_t leading = static_cast<uint32_t>(std::min(bytes.find_first_not_of(' '), bytes.size()));
      const uint32_t trailing =
          static_cast<uint32_t>(bytes.size() - (leading == bytes.size() ? 0 : bytes.find_last_not_of(' ') + 1));
      if (leading > 0 && tokenizer_.trim_keeps_first_ && (i == first || start == 0)) leading--;
      start = std::min(start + leading, end);
      if (end >= trailing) end = std::max(end - trailing, start);
    }
  }

  const Tokenizer& tokenizer_;
  const EncodeOptions& options_;
  Encoding& out_;
  TokenSink sink_;
  WordScratch scratch_;
  Regex::Scratch matches_;
  SeenWords seen_;
  bool remembers_ = false;
};

namespace {

void clear(Encoding& out) {
  out.ids.clear();
  out.offsets.clear();
  out.type_ids.clear();
}

Status check_size(std::string_view text) {
  if (text.size() <= kMaxText) return {};
  return error(ErrorCode::kInvalidArgument, {"text", "at most 256 MiB of UTF-8", std::to_string(text.size()) + " bytes"});
}

}  // namespace

Status Tokenizer::encode(std::string_view utf8, const EncodeOptions& options, Encoding& out) const {
  clear(out);
  INFERNODE_TRY(check_size(utf8));
  return Session(*this, options, out).run(single_, {utf8, {}});
}

Status Tokenizer::encode_pair(std::string_view first, std::string_view second, const EncodeOptions& options,
                              Encoding& out) const {
  clear(out);
  INFERNODE_TRY(check_size(first));
  INFERNODE_TRY(check_size(second));
  return Session(*this, options, out).run(pair_, {first, second});
}

}  // namespace infernode
