// Each step reads a text and writes a new one. Places follow the Rust library `tokenizers`: what is replaced or inserted has
// the place of one character.
#include "tokenizer/normalizer.h"

#include <algorithm>

#include "tokenizer/unicode.h"

namespace infernode {
namespace {

constexpr size_t kMaxText = size_t{1} << 30;
constexpr size_t kMaxReplacement = 1024;

bool is_space(uint32_t c) { return (unicode::classes_of(c) & unicode::kSpace) != 0; }

bool is_control(uint32_t c) {
  constexpr unicode::Classes other = unicode::classes(unicode::kCc) | unicode::classes(unicode::kCf) |
                                     unicode::classes(unicode::kCo) | unicode::classes(unicode::kCs);
  return c != '\t' && c != '\n' && c != '\r' && (unicode::classes_of(c) & other) != 0;
}

bool is_chinese(uint32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

}  // namespace

// The text that a step writes.
struct Normalizer::Output {
  std::string text;
  // For each byte, where in the step's input the character starts that it came from.
  std::vector<uint32_t> index;
  bool tracks = false;

  bool full() const { return text.size() > kMaxText; }
  void add(std::string_view bytes, size_t from) {
    text += bytes;
    if (tracks) index.resize(text.size(), static_cast<uint32_t>(from));
  }
};

Result<Normalizer> Normalizer::make(const json::Value& steps, Array<char> charsmap, std::string_view source_name) {
  static constexpr struct {
    const char* name;
    Kind kind;
  } kKinds[] = {
      {"nfc", Kind::kNfc},
      {"nfd", Kind::kNfd},
      {"nfkc", Kind::kNfkc},
      {"nfkd", Kind::kNfkd},
      {"lowercase", Kind::kLowercase},
      {"stripMarks", Kind::kStripMarks},
      {"stripNonspacing", Kind::kStripNonspacing},
      {"cleanText", Kind::kCleanText},
      {"spaceChinese", Kind::kSpaceChinese},
      {"strip", Kind::kStrip},
      {"replace", Kind::kReplace},
      {"replaceSpaces", Kind::kReplaceSpaces},
      {"replaceWhitespace", Kind::kReplaceWhitespace},
      {"prepend", Kind::kPrepend},
      {"precompiled", Kind::kPrecompiled},
      {"markSpaces", Kind::kMarkSpaces},
  };
  Normalizer normalizer;
  bool uses_charsmap = false;
  for (const json::Value value : steps.elements()) {
    const std::string name = value.is_string() ? value.string() : value.get("kind").string();
    const auto* found = std::find_if(std::begin(kKinds), std::end(kKinds), [&](const auto& row) { return name == row.name; });
    if (found == std::end(kKinds))
      return error(ErrorCode::kTokenizerUnsupported, {std::string(source_name), "normalizer", name});
    Step step;
    step.kind = found->kind;
    step.from = value.get("from").string();
    step.to = value.get("to").string();
    step.left = value.get("left").boolean();
    step.right = value.get("right").boolean();
    step.longest = value.get("longest").boolean();
    step.prefix = value.get("prefix").boolean();
    step.suffix = value.get("suffix").boolean();
    step.merge = value.get("merge").boolean();
    if (!value.get("least").missing()) {
      INFERNODE_ASSIGN(least, value.get("least").integer());
      step.least = static_cast<size_t>(std::max<int64_t>(1, least));
    }
    if ((step.kind == Kind::kReplace && step.from.empty()) || std::max(step.from.size(), step.to.size()) > kMaxReplacement)
      return error(ErrorCode::kTokenizerInvalid, {std::string(source_name), "normalizer", name + ": empty or too long"});
    uses_charsmap |= step.kind == Kind::kPrecompiled;
    normalizer.steps_.push_back(std::move(step));
  }
  if (uses_charsmap) {
    INFERNODE_ASSIGN(map, Charsmap::make(std::move(charsmap), source_name));
    normalizer.charsmap_ = std::move(map);
  }
  return normalizer;
}

Result<std::string_view> Normalizer::run(std::string_view text, std::string& storage, std::vector<uint32_t>* source) const {
  std::string_view now = text;
  if (source) source->clear();
  for (const Step& step : steps_) {
    if (step.kind == Kind::kNfc && unicode::surely_nfc(now)) continue;
    Output out;
    out.tracks = source != nullptr;
    out.text.reserve(now.size() + now.size() / 4);
    apply(step, now, out);
    if (out.full()) return error(ErrorCode::kInvalidArgument, {"text", "at most 1 GiB after normalization", "more"});
    if (source && !source->empty())
      for (uint32_t& place : out.index) place = (*source)[place];
    if (source) *source = std::move(out.index);
    storage = std::move(out.text);
    now = storage;
  }
  return now;
}

void Normalizer::apply(const Step& step, std::string_view in, Output& out) const {
  const char *begin = in.data(), *end = begin + in.size();
  // Calls use(character, its bytes, where it starts) for each.
  const auto each = [&](const auto& use) {
    for (const char* p = begin; p < end && !out.full();) {
      const unicode::Character c = unicode::decode(p, end);
      use(c.code_point, std::string_view(p, c.length), static_cast<size_t>(p - begin));
      p += c.length;
    }
  };
  // Keeps characters for which `keep` holds.
  const auto filter = [&](const auto& keep) {
    each([&](uint32_t c, std::string_view bytes, size_t at) {
      if (keep(c)) out.add(bytes, at);
    });
  };
  // Replaces runs of `least` characters or more for which `test` holds; the replacement has the place of the run's last one.
  const auto replace_runs = [&](const auto& test) {
    for (const char* p = begin; p < end && !out.full();) {
      const char *run = p, *last = p;
      size_t count = 0;
      while (p < end) {
        const unicode::Character c = unicode::decode(p, end);
        if (!test(c.code_point)) break;
        last = p;
        p += c.length;
        count++;
      }
      if (count >= step.least) {
        out.add(step.to, static_cast<size_t>(last - begin));
      } else {
        for (const char* q = run; q < p;) {
          const size_t length = unicode::decode(q, end).length;
          out.add({q, length}, static_cast<size_t>(q - begin));
          q += length;
        }
      }
      if (p == end) break;
      const size_t length = unicode::decode(p, end).length;
      out.add({p, length}, static_cast<size_t>(p - begin));
      p += length;
    }
  };
  const auto form = [&](unicode::Form f) {
    unicode::append_normalized(in, f, kMaxText, out.text, out.tracks ? &out.index : nullptr);
  };
  std::string bytes_of_one;
  switch (step.kind) {
    case Kind::kNfc: return form(unicode::Form::kNfc);
    case Kind::kNfd: return form(unicode::Form::kNfd);
    case Kind::kNfkc: return form(unicode::Form::kNfkc);
    case Kind::kNfkd: return form(unicode::Form::kNfkd);
    case Kind::kLowercase:
      return each([&](uint32_t c, std::string_view, size_t at) {
        bytes_of_one.clear();
        unicode::append_lowercase(bytes_of_one, c);
        out.add(bytes_of_one, at);
      });
    case Kind::kStripMarks: return filter([](uint32_t c) { return (unicode::classes_of(c) & unicode::kMark) == 0; });
    case Kind::kStripNonspacing:
      return filter([](uint32_t c) { return (unicode::classes_of(c) & unicode::classes(unicode::kMn)) == 0; });
    case Kind::kCleanText:
      return each([&](uint32_t c, std::string_view bytes, size_t at) {
        if (c != 0 && c != 0xFFFD && !is_control(c)) out.add(is_space(c) ? " " : bytes, at);
      });
    case Kind::kSpaceChinese:
      return each([&](uint32_t c, std::string_view bytes, size_t at) {
        const bool chinese = is_chinese(c);
        if (chinese) out.add(" ", at);
        out.add(bytes, at);
        if (chinese) out.add(" ", at);
      });
    case Kind::kStrip: {
      size_t from = 0, to = in.size();
      while (step.left && from < to) {
        const unicode::Character c = unicode::decode(begin + from, end);
        if (!is_space(c.code_point)) break;
        from += c.length;
      }
      while (step.right && to > from) {
        size_t start = to - 1;
        while (start > from && (static_cast<unsigned char>(in[start]) & 0xC0) == 0x80) start--;
        if (!is_space(unicode::decode(begin + start, end).code_point)) break;
        to = start;
      }
      return each([&](uint32_t, std::string_view bytes, size_t at) {
        if (at >= from && at < to) out.add(bytes, at);
      });
    }
    case Kind::kReplace:
      for (size_t at = 0; at < in.size() && !out.full();) {
        if (in.substr(at, step.from.size()) == step.from) {
          size_t last = at + step.from.size() - 1;
          while (last > at && (static_cast<unsigned char>(in[last]) & 0xC0) == 0x80) last--;
          out.add(step.to, last);
          at += step.from.size();
          continue;
        }
        const size_t length = unicode::decode(begin + at, end).length;
        out.add(in.substr(at, length), at);
        at += length;
      }
      return;
    case Kind::kReplaceSpaces: return replace_runs([](uint32_t c) { return c == ' '; });
    case Kind::kReplaceWhitespace: return replace_runs(is_space);
    case Kind::kPrepend:
      if (!in.empty()) out.add(step.to, 0);
      return filter([](uint32_t) { return true; });
    case Kind::kPrecompiled: return apply_charsmap(step, in, out);
    case Kind::kMarkSpaces: return mark_spaces(step, in, out);
  }
}

// SentencePiece takes the longest sequence that is in the table. The Rust library looks up whole grapheme clusters of less than
// 6 bytes, and replaces them by what stands for the shortest sequence that they begin with, then single characters.
void Normalizer::apply_charsmap(const Step& step, std::string_view in, Output& out) const {
  const char *begin = in.data(), *end = begin + in.size();
  if (step.longest) {
    for (size_t at = 0; at < in.size() && !out.full();) {
      if (const auto match = charsmap_.find(in.substr(at), true)) {
        out.add(match->replacement, at);
        at += match->length;
        continue;
      }
      const size_t length = unicode::decode(begin + at, end).length;
      out.add(in.substr(at, length), at);
      at += length;
    }
    return;
  }
  // Characters as the library counts them: 1 is one more, -2 one that stands for three.
  struct Change {
    uint32_t code_point;
    int32_t change;
  };
  std::vector<Change> changes;
  size_t cursor = 0, before = 0;  // in `in`: the next character that nothing stands for yet, and the one in front of it
  const auto advance = [&] {
    if (cursor >= in.size()) return;
    before = cursor;
    cursor += unicode::decode(begin + cursor, end).length;
  };
  std::string bytes;
  // All but the last, which an empty replacement may still change.
  const auto flush = [&](size_t keep) {
    const size_t n = changes.size() - std::min(keep, changes.size());
    for (size_t i = 0; i < n; i++) {
      bytes.clear();
      unicode::append(bytes, changes[i].code_point);
      const bool added = changes[i].change > 0;
      out.add(bytes, added || cursor >= in.size() ? before : cursor);
      if (!added)
        for (int32_t k = 0; k <= -changes[i].change; k++) advance();
    }
    changes.erase(changes.begin(), changes.begin() + static_cast<ptrdiff_t>(n));
  };
  const auto replace = [&](std::string_view from, std::string_view to) {
    int32_t more = 0;
    for (const char c : from) more -= (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    const size_t first = changes.size();
    for (const char* p = to.data(); p < to.data() + to.size();) {
      const unicode::Character c = unicode::decode(p, to.data() + to.size());
      changes.push_back({c.code_point, 0});
      p += c.length;
      more++;
    }
    if (more > 0) {
      for (size_t i = std::max(first, changes.size() - static_cast<size_t>(more)); i < changes.size(); i++)
        changes[i].change = 1;
    } else if (more < 0 && !changes.empty()) {
      changes.back().change += more;
    }
  };
  for (const char* p = begin; p < end && !out.full();) {
    const char* stop = unicode::short_grapheme_end(p, end);
    const std::string_view grapheme(p, static_cast<size_t>(stop - p));
    const auto whole = grapheme.size() < 6 ? charsmap_.find(grapheme, false) : std::nullopt;
    if (whole) {
      replace(grapheme, whole->replacement);
    } else {
      for (const char* q = p; q < stop;) {
        const unicode::Character c = unicode::decode(q, end);
        const std::string_view one(q, c.length);
        if (const auto match = charsmap_.find(one, false)) {
          replace(one, match->replacement);
        } else {
          changes.push_back({c.code_point, 0});
        }
        q += c.length;
      }
    }
    p = stop;
    flush(1);
  }
  flush(0);
}

// A mark before the text or before each word, one instead of each space or of each run of them.
void Normalizer::mark_spaces(const Step& step, std::string_view in, Output& out) {
  bool in_word = false, marked = false;
  size_t last = 0;
  for (size_t at = 0; at < in.size() && !out.full();) {
    const size_t length = unicode::decode(in.data() + at, in.data() + in.size()).length;
    last = at;
    if (in[at] == ' ') {
      in_word = false;
      if (!step.merge) out.add(step.to, at);
    } else {
      if (!in_word && (step.merge || (step.prefix && !marked))) out.add(step.to, at);
      marked = in_word = true;
      out.add(in.substr(at, length), at);
    }
    at += length;
  }
  if (step.suffix) out.add(step.to, last);
}

}  // namespace infernode
