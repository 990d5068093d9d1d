// The matchers. Each gives what a backtracking regular expression engine would give, but in time linear in the text; the
// expression stands above it.
#include "tokenizer/pre_tokenizer.h"

#include <algorithm>

#include "tokenizer/unicode.h"

namespace infernode {
namespace {

using unicode::Character;
using unicode::Classes;
using unicode::decode;
using unicode::kLetter;
using unicode::kMark;
using unicode::kNumber;
using unicode::kPunctuation;
using unicode::kSpace;
using unicode::kSymbol;

// [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}] and [\p{Ll}\p{Lm}\p{Lo}\p{M}]
constexpr Classes kUpperLike = unicode::kUpper | unicode::kOtherLetter | kMark;
constexpr Classes kLowerLike = unicode::kLower | unicode::kOtherLetter | kMark;

struct Names {
  const char* name;
  SplitPattern pattern;
};
constexpr Names kNames[] = {
    {"gpt2", SplitPattern::kGpt2},
    {"llama3", SplitPattern::kLlama3},
    {"qwen2", SplitPattern::kQwen2},
    {"gpt4o", SplitPattern::kGpt4o},
    {"tekken", SplitPattern::kTekken},
    {"digitTriples", SplitPattern::kDigitTriples},
    {"digits", SplitPattern::kDigits},
    {"digitRuns", SplitPattern::kDigitRuns},
    {"byteDigitRuns", SplitPattern::kByteDigitRuns},
    {"asciiTriples", SplitPattern::kAsciiTriples},
    {"newlines", SplitPattern::kNewlines},
    {"punctuationRuns", SplitPattern::kPunctuationRuns},
    {"cjkKana", SplitPattern::kCjkKana},
    {"cjkHangul", SplitPattern::kCjkHangul},
    {"deepseekV3", SplitPattern::kDeepseekV3},
    {"deepseekLetters", SplitPattern::kDeepseekLetters},
    {"deepseekPunctuation", SplitPattern::kDeepseekPunctuation},
    {"deepseekCoderLetters", SplitPattern::kDeepseekCoderLetters},
    {"deepseekCoderPunctuation", SplitPattern::kDeepseekCoderPunctuation},
    {"trailingSpace", SplitPattern::kTrailingSpace},
    {"whitespace", SplitPattern::kWhitespace},
    {"words", SplitPattern::kWords},
    {"punctuation", SplitPattern::kPunctuation},
    {"text", SplitPattern::kText},
    {"regex", SplitPattern::kRegex},
};

constexpr const char* kBehaviors[] = {"isolated", "removed", "mergedWithPrevious", "mergedWithNext", "contiguous"};

struct CodePoints {
  uint32_t first, last;
};

// The letters that deepseek-llm names one by one: cased letters of an early Unicode.
constexpr CodePoints kDeepseekLetters[] = {
    {0x41, 0x5A},       {0x61, 0x7A},       {0xB5, 0xB5},       {0xC0, 0xD6},       {0xD8, 0xF6},       {0xF8, 0x1BA},
    {0x1BC, 0x1BF},     {0x1C4, 0x293},     {0x295, 0x2AF},     {0x370, 0x373},     {0x376, 0x376},     {0x377, 0x377},
    {0x37B, 0x37D},     {0x37F, 0x37F},     {0x386, 0x386},     {0x388, 0x38A},     {0x38C, 0x38C},     {0x38E, 0x3A1},
    {0x3A3, 0x3F5},     {0x3F7, 0x481},     {0x48A, 0x52F},     {0x531, 0x556},     {0x10A0, 0x10C5},   {0x13A0, 0x13F5},
    {0x13F8, 0x13FD},   {0x1C90, 0x1CBA},   {0x1CBD, 0x1CBF},   {0x1D00, 0x1D2B},   {0x1D6B, 0x1D77},   {0x1D79, 0x1D9A},
    {0x1E00, 0x1F15},   {0x1F18, 0x1F1D},   {0x1F20, 0x1F45},   {0x1F48, 0x1F4D},   {0x1F50, 0x1F57},   {0x1F59, 0x1F59},
    {0x1F5B, 0x1F5B},   {0x1F5D, 0x1F5D},   {0x1F5F, 0x1F7D},   {0x1F80, 0x1FB4},   {0x1FB6, 0x1FBC},   {0x1FBE, 0x1FBE},
    {0x1FC2, 0x1FC4},   {0x1FC6, 0x1FCC},   {0x1FD0, 0x1FD3},   {0x1FD6, 0x1FDB},   {0x1FE0, 0x1FEC},   {0x1FF2, 0x1FF4},
    {0x1FF6, 0x1FFC},   {0x2102, 0x2102},   {0x2107, 0x2107},   {0x210A, 0x2113},   {0x2115, 0x2115},   {0x2119, 0x211D},
    {0x2124, 0x2124},   {0x2126, 0x2126},   {0x2128, 0x2128},   {0x212A, 0x212D},   {0x212F, 0x2134},   {0x2139, 0x2139},
    {0x213C, 0x213F},   {0x2145, 0x2149},   {0x214E, 0x214E},   {0x2183, 0x2183},   {0x2184, 0x2184},   {0x2C00, 0x2C7B},
    {0x2C7E, 0x2CE4},   {0x2CEB, 0x2CEE},   {0x2CF2, 0x2CF2},   {0x2CF3, 0x2CF3},   {0xA640, 0xA66D},   {0xA680, 0xA69B},
    {0xA722, 0xA76F},   {0xA771, 0xA787},   {0xA78B, 0xA78E},   {0xAB70, 0xABBF},   {0xFB00, 0xFB06},   {0xFB13, 0xFB17},
    {0xFF21, 0xFF3A},   {0xFF41, 0xFF5A},   {0x10400, 0x1044F}, {0x104B0, 0x104D3}, {0x104D8, 0x104FB}, {0x10C80, 0x10CB2},
    {0x10CC0, 0x10CF2}, {0x118A0, 0x118DF}, {0x1E900, 0x1E943},
};

// \w: letters, marks, digits and what joins words, and the letters in circles and squares that count as alphabetic.
bool is_word(uint32_t c) {
  constexpr Classes word =
      kLetter | kMark | unicode::classes(unicode::kNd) | unicode::classes(unicode::kNl) | unicode::classes(unicode::kPc);
  return (unicode::classes_of(c) & word) != 0 || c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) ||
         (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
}

bool is_newline(uint32_t c) { return c == '\n' || c == '\r'; }

bool is_deepseek_letter(uint32_t c) {
  const CodePoints* found = std::upper_bound(std::begin(kDeepseekLetters), std::end(kDeepseekLetters), c,
                                             [](uint32_t value, const CodePoints& range) { return value < range.first; });
  return found != std::begin(kDeepseekLetters) && c <= found[-1].last;
}

// [!-/:-~！-／：-～‘-‟　-。]
bool is_deepseek_punctuation(uint32_t c) {
  return (c >= '!' && c <= '/') || (c >= ':' && c <= '~') || (c >= 0xFF01 && c <= 0xFF0F) || (c >= 0xFF1A && c <= 0xFF5E) ||
         (c >= 0x2018 && c <= 0x201F) || (c >= 0x3000 && c <= 0x3002);
}

// One piece while it is being split. Matchers take a position and return the end of the match there, or null.
struct Matcher {
  const char* end;

  static bool in(uint32_t c, Classes set) { return (unicode::classes_of(c) & set) != 0; }
  bool at(const char* p, Classes set) const { return p < end && in(decode(p, end).code_point, set); }
  bool at_char(const char* p, char c) const { return p < end && *p == c; }

  template <class Test>
  const char* skip(const char* p, const Test& test) const {
    while (p < end) {
      const Character c = decode(p, end);
      if (!test(c.code_point)) break;
      p += c.length;
    }
    return p;
  }
  const char* skip(const char* p, Classes set) const {
    return skip(p, [set](uint32_t c) { return in(c, set); });
  }
  template <class Test>
  const char* one_or_more(const char* p, const Test& test) const {
    const char* stop = skip(p, test);
    return stop == p ? nullptr : stop;
  }
  // Up to `most` characters of the set.
  const char* up_to(const char* p, int most, Classes set) const {
    const char* start = p;
    for (; most > 0 && at(p, set); most--) p += decode(p, end).length;
    return p == start ? nullptr : p;
  }

  // 's|'t|'re|'ve|'m|'ll|'d, with (?i:) if `any_case`: then the long s (U+017F) counts as an s.
  const char* contraction(const char* p, bool any_case) const {
    if (!at_char(p, '\'')) return nullptr;
    const auto letter = [&](const char* q) -> char {
      if (q >= end) return 0;
      if (!any_case) return *q;
      if (*q >= 'A' && *q <= 'Z') return static_cast<char>(*q - 'A' + 'a');
      return decode(q, end).code_point == 0x17F ? 's' : *q;
    };
    const char first = letter(p + 1), second = first == 0 ? '\0' : letter(p + 2);
    if (first == 's') return p + 1 + decode(p + 1, end).length;
    if (first == 't' || first == 'm' || first == 'd') return p + 2;
    if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l')) return p + 3;
    return nullptr;
  }

  // \s*[\r\n]+ : up to the last line break of a run of white space.
  const char* space_to_newline(const char* p) const {
    const char* last = nullptr;
    while (p < end) {
      const Character c = decode(p, end);
      if (!in(c.code_point, kSpace)) break;
      p += c.length;
      if (is_newline(c.code_point)) last = p;
    }
    return last;
  }

  // \s+(?!\S)|\s+ : a run of white space without its last character if something follows and it has more than one.
  const char* space_run(const char* p) const {
    const char *start = p, *last = p;
    while (p < end) {
      const Character c = decode(p, end);
      if (!in(c.code_point, kSpace)) break;
      last = p;
      p += c.length;
    }
    if (p == start) return nullptr;
    return p == end || last == start ? p : last;
  }

  //  ?[set]+ with `optional` before it.
  const char* prefixed(const char* p, bool optional, const char* after, Classes set) const {
    if (optional)
      if (const char* stop = one_or_more(after, [set](uint32_t c) { return in(c, set); })) return stop;
    return one_or_more(p, [set](uint32_t c) { return in(c, set); });
  }

  //  ?[^\s\p{L}\p{N}]+
  const char* others(const char* p) const {
    const auto other = [](uint32_t c) { return !in(c, kSpace | kLetter | kNumber); };
    if (at_char(p, ' ')) return one_or_more(p + 1, other);
    return one_or_more(p, other);
  }

  const char* gpt2(const char* p) const {
    if (const char* stop = contraction(p, false)) return stop;
    const bool space = at_char(p, ' ');
    if (const char* stop = prefixed(p, space, p + 1, kLetter)) return stop;
    if (const char* stop = prefixed(p, space, p + 1, kNumber)) return stop;
    if (const char* stop = others(p)) return stop;
    return space_run(p);
  }

  // (?i:'s|..)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
  const char* llama3(const char* p, int digits) const {
    if (const char* stop = contraction(p, true)) return stop;
    const Character c = decode(p, end);
    const bool optional = !is_newline(c.code_point) && !in(c.code_point, kLetter | kNumber);
    if (const char* stop = prefixed(p, optional, p + c.length, kLetter)) return stop;
    if (const char* stop = up_to(p, digits, kNumber)) return stop;
    if (const char* stop = others(p)) return skip(stop, is_newline);
    if (const char* stop = space_to_newline(p)) return stop;
    return space_run(p);
  }

  // [upper]*[lower]+ where the sets overlap: the greedy run of upper gives characters back until one is lower too.
  const char* upper_lower(const char* p) const {
    const char* given_back = nullptr;
    while (p < end) {
      const Character c = decode(p, end);
      if (!in(c.code_point, kUpperLike)) break;
      p += c.length;
      if (in(c.code_point, kLowerLike)) given_back = p;
    }
    const char* stop = skip(p, kLowerLike);
    return stop > p ? stop : given_back;
  }

  // [upper]+[lower]*
  const char* uppers_lower(const char* p) const {
    const char* stop = skip(p, kUpperLike);
    return stop == p ? nullptr : skip(stop, kLowerLike);
  }

  // [^\r\n\p{L}\p{N}]?[upper]*[lower]+(?i:'s|..)?|[^\r\n\p{L}\p{N}]?[upper]+[lower]*(?i:'s|..)?|\p{N}{1,digits}|
  //  ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
  const char* cased(const char* p, int digits, bool contractions) const {
    const Character c = decode(p, end);
    const bool optional = !is_newline(c.code_point) && !in(c.code_point, kLetter | kNumber);
    const char* stop = optional ? upper_lower(p + c.length) : nullptr;
    if (!stop) stop = upper_lower(p);
    if (!stop && optional) stop = uppers_lower(p + c.length);
    if (!stop) stop = uppers_lower(p);
    if (stop) {
      const char* suffix = contractions ? contraction(stop, true) : nullptr;
      return suffix ? suffix : stop;
    }
    if ((stop = up_to(p, digits, kNumber))) return stop;
    if ((stop = others(p))) return skip(stop, [](uint32_t n) { return is_newline(n) || n == '/'; });
    if ((stop = space_to_newline(p))) return stop;
    return space_run(p);
  }

  // [!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
  const char* deepseek_v3(const char* p) const {
    const auto ascii_letter = [](uint32_t n) { return (n >= 'A' && n <= 'Z') || (n >= 'a' && n <= 'z'); };
    const Character c = decode(p, end);
    if (c.code_point > ' ' && c.code_point < 0x7F && in(c.code_point, kPunctuation | kSymbol))
      if (const char* stop = one_or_more(p + 1, ascii_letter)) return stop;
    const bool optional = !is_newline(c.code_point) && !in(c.code_point, kLetter | kPunctuation | kSymbol);
    if (const char* stop = prefixed(p, optional, p + c.length, kLetter | kMark)) return stop;
    if (const char* stop = prefixed(p, at_char(p, ' '), p + 1, kPunctuation | kSymbol)) return skip(stop, is_newline);
    if (const char* stop = space_to_newline(p)) return stop;
    return space_run(p);
  }

  // \s?[test]+
  template <class Test>
  const char* spaced(const char* p, const Test& test) const {
    const Character c = decode(p, end);
    if (in(c.code_point, kSpace))
      if (const char* stop = one_or_more(p + c.length, test)) return stop;
    return one_or_more(p, test);
  }

  const char* match(const SplitStep& step, const char* p) const {
    const Character c = decode(p, end);
    const auto letter = [](uint32_t n) { return in(n, kLetter); };
    const auto punctuation = [](uint32_t n) { return in(n, kPunctuation); };
    switch (step.pattern) {
      case SplitPattern::kGpt2: return gpt2(p);
      case SplitPattern::kLlama3: return llama3(p, 3);
      case SplitPattern::kQwen2: return llama3(p, 1);
      case SplitPattern::kGpt4o: return cased(p, 3, true);
      case SplitPattern::kTekken: return cased(p, 1, false);
      case SplitPattern::kDigitTriples: return up_to(p, 3, kNumber);
      case SplitPattern::kDigits: return up_to(p, 1, kNumber);
      case SplitPattern::kDigitRuns: return one_or_more(p, [](uint32_t n) { return in(n, kNumber); });
      // \p{N}+ over the alphabet that byte-level BPE spells bytes with: there ², ³, ¹, ¼, ½ and ¾ stand for bytes of any
      // character.
      case SplitPattern::kByteDigitRuns: {
        const auto digit = [](unsigned char b) {
          return (b >= '0' && b <= '9') || b == 0xB2 || b == 0xB3 || b == 0xB9 || (b >= 0xBC && b <= 0xBE);
        };
        const char* stop = p;
        while (stop < end && digit(static_cast<unsigned char>(*stop))) stop++;
        return stop == p ? nullptr : stop;
      }
      // [0-9][0-9][0-9]
      case SplitPattern::kAsciiTriples: {
        if (end - p < 3) return nullptr;
        return std::all_of(p, p + 3, [](char d) { return d >= '0' && d <= '9'; }) ? p + 3 : nullptr;
      }
      case SplitPattern::kNewlines: return is_newline(c.code_point) ? p + 1 : nullptr;
      // [\p{P}$+<=>^~|`]+
      case SplitPattern::kPunctuationRuns:
        return one_or_more(p, [](uint32_t n) { return in(n, kPunctuation) || (n < 0x80 && in(n, kSymbol)); });
      // [一-龥぀-ゟ゠-ヿ]+
      case SplitPattern::kCjkKana:
        return one_or_more(p, [](uint32_t n) { return (n >= 0x4E00 && n <= 0x9FA5) || (n >= 0x3040 && n <= 0x30FF); });
      // [一-龥ࠀ-一가-퟿]+
      case SplitPattern::kCjkHangul:
        return one_or_more(p, [](uint32_t n) { return (n >= 0x800 && n <= 0x9FA5) || (n >= 0xAC00 && n <= 0xD7FF); });
      case SplitPattern::kDeepseekV3: return deepseek_v3(p);
      case SplitPattern::kDeepseekLetters: return spaced(p, is_deepseek_letter);
      case SplitPattern::kDeepseekPunctuation: return spaced(p, is_deepseek_punctuation);
      case SplitPattern::kDeepseekCoderLetters: return spaced(p, letter);
      case SplitPattern::kDeepseekCoderPunctuation: return spaced(p, punctuation);
      // Found otherwise, see split_from.
      case SplitPattern::kTrailingSpace:
      case SplitPattern::kRegex: break;
      case SplitPattern::kWhitespace: return in(c.code_point, kSpace) ? p + c.length : nullptr;
      // \w+|[^\w\s]+
      case SplitPattern::kWords:
        if (const char* stop = one_or_more(p, is_word)) return stop;
        return one_or_more(p, [](uint32_t n) { return !is_word(n) && !in(n, kSpace); });
      // One by one, as BERT has it: \p{P} and the symbols of ASCII.
      case SplitPattern::kPunctuation:
        return in(c.code_point, kPunctuation) || (c.code_point < 0x80 && in(c.code_point, kSymbol)) ? p + c.length : nullptr;
      case SplitPattern::kText:
        return std::string_view(p, static_cast<size_t>(end - p)).starts_with(step.text) ? p + step.text.size() : nullptr;
    }
    return nullptr;
  }
};

// Where the white space at the end of the text starts. Going back from the end keeps \s+$ linear.
const char* trailing_space(const char* begin, const char* end) {
  const char* start = end;
  while (start > begin) {
    const char* p = start - 1;
    while (p > begin && (static_cast<unsigned char>(*p) & 0xC0) == 0x80) p--;
    if (!Matcher::in(decode(p, end).code_point, kSpace)) break;
    start = p;
  }
  return start;
}

}  // namespace

int split_pattern_of(std::string_view name) {
  for (const Names& row : kNames)
    if (name == row.name) return static_cast<int>(row.pattern);
  return -1;
}

int split_behavior_of(std::string_view name) {
  for (size_t i = 0; i < std::size(kBehaviors); i++)
    if (name == kBehaviors[i]) return static_cast<int>(i);
  return -1;
}

Status PreTokenizer::split_from(size_t index, std::string_view text, Regex::Scratch& scratch, Call call,
                                const void* target) const {
  if (text.empty()) return {};
  if (index == steps_.size()) return call(target, text);
  const SplitStep& step = steps_[index];
  const char *begin = text.data(), *end = begin + text.size();
  const auto pass = [&](const char* start, const char* stop) {
    return split_from(index + 1, std::string_view(start, static_cast<size_t>(stop - start)), scratch, call, target);
  };
  // Matches and gaps come in turn; a piece waits until it is certain that the next one does not join it.
  const char *from = begin, *to = begin;
  bool was_match = false;
  const auto segment = [&](const char* start, const char* stop, bool is_match) -> Status {
    // Nothing is a match only of an expression that matches nothing, and then a border.
    if (start == stop && !is_match) return {};
    is_match = is_match != step.invert;
    if (start == stop) {
      if (from < to) INFERNODE_TRY(pass(from, to));
      from = to = stop;
      was_match = is_match;
      return {};
    }
    if (step.behavior == SplitBehavior::kIsolated) return pass(start, stop);
    if (step.behavior == SplitBehavior::kRemoved) return is_match ? Status() : pass(start, stop);
    const bool waits = from < to;
    const bool joins = step.behavior == SplitBehavior::kMergedWithPrevious ? is_match && !was_match
                       : step.behavior == SplitBehavior::kMergedWithNext   ? !is_match && was_match
                                                                           : is_match == was_match;
    if (waits && !joins) INFERNODE_TRY(pass(from, to));
    if (!waits || !joins) from = start;
    to = stop;
    was_match = is_match;
    return {};
  };
  if (step.pattern == SplitPattern::kTrailingSpace) {
    const char* start = trailing_space(begin, end);
    INFERNODE_TRY(segment(begin, start, false));
    INFERNODE_TRY(segment(start, end, true));
  } else {
    const Matcher matcher{end};
    const bool over_bytes = step.pattern == SplitPattern::kByteDigitRuns;
    const char* gap = begin;  // where the text starts that no match has taken yet
    const char* matched = nullptr;  // the end of the latest match
    for (const char* p = begin; p <= end;) {
      const char* stop = nullptr;
      if (step.regex) {
        INFERNODE_ASSIGN(found, step.regex->match(begin, end, p, scratch));
        // A match of nothing counts only where no other one ends.
        if (found != p || p != matched) stop = found;
      } else if (p < end) {
        stop = matcher.match(step, p);
      }
      if (stop) {
        INFERNODE_TRY(segment(gap, p, false));
        INFERNODE_TRY(segment(p, stop, true));
        gap = matched = stop;
      }
      if (stop && stop != p) {
        p = stop;
      } else if (p == end) {
        break;
      } else {
        p += over_bytes ? 1 : decode(p, end).length;
      }
    }
    INFERNODE_TRY(segment(gap, end, false));
  }
  return from < to ? pass(from, to) : Status();
}

}  // namespace infernode
