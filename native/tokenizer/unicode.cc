// Decoding, and normalization after UAX #15. Places are kept as the Rust library `tokenizers` keeps them: each part says by how
// many characters of the source it is more than one (1: the part came in addition) or less (-2: it replaces three).
#include "tokenizer/unicode.h"

#include <algorithm>

namespace infernode::unicode {
namespace {

constexpr uint32_t kReplacement = 0xFFFD;
constexpr uint8_t kConcernsNfc = 0x40, kJoinsGrapheme = 0x80;

constexpr uint32_t kHangulS = 0xAC00, kHangulL = 0x1100, kHangulV = 0x1161, kHangulT = 0x11A7;
constexpr uint32_t kHangulLCount = 19, kHangulVCount = 21, kHangulTCount = 28;
constexpr uint32_t kHangulSCount = kHangulLCount * kHangulVCount * kHangulTCount;

struct Part {
  uint32_t code_point, combining_class;
  int32_t change;
};

uint32_t combining_class(uint32_t c) {
  return kCombining[kCombiningIndex[c >> kBlockBits] << kBlockBits | (c & ((1u << kBlockBits) - 1))];
}

const Decomposition* find_decomposition(const Decomposition* table, size_t count, uint32_t c) {
  const Decomposition* last = table + count;
  const Decomposition* found =
      std::lower_bound(table, last, c, [](const Decomposition& d, uint32_t value) { return d.code_point < value; });
  return found != last && found->code_point == c ? found : nullptr;
}

bool is_compatible(uint32_t c) { return c >= 0xA0 && find_decomposition(kCompatibility, kCompatibilityCount, c); }

void decompose(uint32_t c, bool compatible, std::vector<Part>& out) {
  if (c < 0xA0) return out.push_back({c, 0, 0});
  if (c - kHangulS < kHangulSCount) {
    const uint32_t s = c - kHangulS;
    out.push_back({kHangulL + s / (kHangulVCount * kHangulTCount), 0, 0});
    out.push_back({kHangulV + s / kHangulTCount % kHangulVCount, 0, 1});
    if (s % kHangulTCount != 0) out.push_back({kHangulT + s % kHangulTCount, 0, 1});
    return;
  }
  const Decomposition* found = compatible ? find_decomposition(kCompatibility, kCompatibilityCount, c) : nullptr;
  if (!found) found = find_decomposition(kDecompositions, kDecompositionCount, c);
  if (!found) return out.push_back({c, combining_class(c), 0});
  for (uint32_t i = 0; i < found->parts % 32; i++) {
    const uint32_t part = kParts[found->parts / 32 + i];
    out.push_back({part, combining_class(part), i == 0 ? 0 : 1});
  }
}

// The composition of two characters, or 0.
uint32_t compose(uint32_t first, uint32_t second) {
  if (first - kHangulL < kHangulLCount && second - kHangulV < kHangulVCount)
    return kHangulS + ((first - kHangulL) * kHangulVCount + (second - kHangulV)) * kHangulTCount;
  if (first - kHangulS < kHangulSCount && (first - kHangulS) % kHangulTCount == 0 && second - kHangulT - 1 < kHangulTCount - 1)
    return first + (second - kHangulT);
  const Composition* last = kCompositions + kCompositionCount;
  const Composition* found = std::lower_bound(
      kCompositions, last, Composition{first, second, 0},
      [](const Composition& a, const Composition& b) { return a.first != b.first ? a.first < b.first : a.second < b.second; });
  return found != last && found->first == first && found->second == second ? found->composed : 0;
}

void order_marks(std::vector<Part>& parts) {
  for (size_t i = 0; i < parts.size();) {
    size_t end = i;
    while (end < parts.size() && parts[end].combining_class != 0) end++;
    std::stable_sort(parts.begin() + static_cast<ptrdiff_t>(i), parts.begin() + static_cast<ptrdiff_t>(end),
                     [](const Part& a, const Part& b) { return a.combining_class < b.combining_class; });
    i = end + 1;
  }
}

// Composes ordered parts, in place. The first part is a starter, unless the text begins with marks.
void recompose(std::vector<Part>& parts) {
  size_t kept = 0, starter = SIZE_MAX;
  uint32_t last_class = 0;
  for (const Part part : parts) {
    // A mark is blocked from the starter by a kept mark of the same or a higher class between them.
    if (starter != SIZE_MAX && (kept == starter + 1 || last_class < part.combining_class)) {
      if (const uint32_t composed = compose(parts[starter].code_point, part.code_point)) {
        parts[starter].code_point = composed;
        parts[starter].change += part.change - 1;
        continue;
      }
    }
    if (part.combining_class == 0) starter = kept;
    last_class = part.combining_class;
    parts[kept++] = part;
  }
  parts.resize(kept);
}

}  // namespace

Character decode_slow(const char* p, const char* end) {
  if (p >= end) return {0, 0};
  const auto at = [&](ptrdiff_t i) -> uint32_t { return i < end - p ? static_cast<unsigned char>(p[i]) : 0; };
  const uint32_t lead = at(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xC2 || lead > 0xF4) return {kReplacement, 1};
  // The second byte's range excludes overlong forms, surrogates and what is past U+10FFFF.
  const uint32_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const uint32_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (at(1) < low || at(1) > high) return {kReplacement, 1};
  if (lead < 0xE0) return {(lead & 0x1F) << 6 | (at(1) & 0x3F), 2};
  if ((at(2) & 0xC0) != 0x80) return {kReplacement, 2};
  if (lead < 0xF0) return {(lead & 0x0F) << 12 | (at(1) & 0x3F) << 6 | (at(2) & 0x3F), 3};
  if ((at(3) & 0xC0) != 0x80) return {kReplacement, 3};
  return {(lead & 0x07) << 18 | (at(1) & 0x3F) << 12 | (at(2) & 0x3F) << 6 | (at(3) & 0x3F), 4};
}

void append(std::string& out, uint32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | c >> 6);
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | c >> 12);
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | c >> 18);
    out += static_cast<char>(0x80 | (c >> 12 & 0x3F));
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

std::string_view well_formed(std::string_view text, std::string& storage) {
  const char *p = text.data(), *end = p + text.size(), *copied = p;
  bool broken = false;
  while (p < end) {
    const Character c = decode(p, end);
    // U+FFFD itself takes three bytes and starts with 0xEF, which no broken sequence of three bytes does.
    if (c.code_point == kReplacement && !(c.length == 3 && static_cast<unsigned char>(*p) == 0xEF)) {
      if (!broken) storage.clear();
      broken = true;
      storage.append(copied, p);
      storage += "\xEF\xBF\xBD";
      copied = p + c.length;
    }
    p += c.length;
  }
  if (!broken) return text;
  storage.append(copied, end);
  return storage;
}

bool surely_nfc(std::string_view text) {
  const char *p = text.data(), *end = p + text.size();
  while (p < end) {
    const Character c = decode(p, end);
    if (c.code_point >= 0x300 && property(c.code_point) & kConcernsNfc) return false;
    p += c.length;
  }
  return true;
}

void append_normalized(std::string_view text, Form form, size_t limit, std::string& out, std::vector<uint32_t>* source) {
  const bool compatible = form == Form::kNfkc || form == Form::kNfkd;
  const bool composes = form == Form::kNfc || form == Form::kNfkc;
  const char *begin = text.data(), *end = begin + text.size();
  // Parts of the stretch in work, and where its characters start.
  std::vector<Part> parts, fresh;
  std::vector<uint32_t> starts;
  const auto flush = [&] {
    if (parts.empty()) return;
    if (parts.size() > 1) order_marks(parts);
    if (composes && parts.size() > 1) recompose(parts);
    size_t cursor = 0;
    for (const Part& part : parts) {
      append(out, part.code_point);
      if (!source) continue;
      const bool added = part.change > 0;
      source->resize(out.size(), starts[added ? (cursor > 0 ? cursor - 1 : 0) : std::min(cursor, starts.size() - 1)]);
      if (!added) cursor += 1 + static_cast<size_t>(-part.change);
    }
    parts.clear();
    starts.clear();
  };
  const auto concerns = [&](uint32_t c) {
    return composes && ((property(c) & kConcernsNfc) != 0 || (compatible && is_compatible(c)));
  };
  if (source) source->resize(out.size());
  for (const char* p = begin; p < end && out.size() <= limit;) {
    const Character c = decode(p, end);
    const uint32_t at = static_cast<uint32_t>(p - begin);
    p += c.length;
    if (composes) {
      // Characters of no concern begin a new stretch: nothing before them can join them. Followed by nothing of concern, they
      // stay as they are; only otherwise are they worth taking apart.
      if (!concerns(c.code_point)) {
        flush();
        if (p == end || !concerns(decode(p, end).code_point)) {
          append(out, c.code_point);
          if (source) source->resize(out.size(), at);
          continue;
        }
      }
      decompose(c.code_point, compatible, parts);
      starts.push_back(at);
      continue;
    }
    fresh.clear();
    decompose(c.code_point, compatible, fresh);
    if (fresh[0].combining_class == 0) flush();  // a starter begins a new stretch
    parts.insert(parts.end(), fresh.begin(), fresh.end());
    starts.push_back(at);
  }
  flush();
}

void append_lowercase(std::string& out, uint32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    return;
  }
  if (c == 0x130) {
    out += "i\xCC\x87";
    return;
  }
  const LowercaseRange* last = kLowercase + kLowercaseCount;
  const LowercaseRange* found =
      std::lower_bound(kLowercase, last, c, [](const LowercaseRange& range, uint32_t value) { return range.last < value; });
  const bool inside = found != last && c >= found->first && (c - found->first) % found->step == 0;
  append(out, inside ? c + static_cast<uint32_t>(found->delta) : c);
}

const char* short_grapheme_end(const char* p, const char* end) {
  const Character first = decode(p, end);
  const char* stop = p + first.length;
  const uint32_t c = first.code_point;
  if (c == '\r' && stop < end && *stop == '\n') return stop + 1;
  constexpr Classes control = classes(kCc) | classes(kCf) | classes(kZl) | classes(kZp);
  const auto is_control = [](uint32_t value) {
    return (classes_of(value) & control) != 0 && (property(value) & kJoinsGrapheme) == 0;
  };
  // Signs that join what follows them; three of them fit into a short cluster at most.
  const auto joins_next = [](uint32_t value) {
    return (value >= 0x600 && value <= 0x605) || value == 0x6DD || value == 0x70F || value == 0x890 || value == 0x891 ||
           value == 0x8E2 || value == 0xD4E;
  };
  if (is_control(c) && !joins_next(c)) return stop;
  bool joins = joins_next(c);
  while (stop < end) {
    const Character next = decode(stop, end);
    const bool extends = (property(next.code_point) & kJoinsGrapheme) != 0;
    if (!extends && (!joins || (is_control(next.code_point) && !joins_next(next.code_point)))) break;
    joins = joins_next(next.code_point);
    stop += next.length;
  }
  return stop;
}

}  // namespace infernode::unicode
