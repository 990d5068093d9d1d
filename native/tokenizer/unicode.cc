// Decoding, and normalization after UAX #15.
#include "tokenizer/unicode.h"

#include <algorithm>

namespace infernode::unicode {
namespace {

constexpr uint32_t kReplacement = 0xFFFD;
constexpr uint8_t kConcernsNfc = 0x40;

constexpr uint32_t kHangulS = 0xAC00, kHangulL = 0x1100, kHangulV = 0x1161, kHangulT = 0x11A7;
constexpr uint32_t kHangulLCount = 19, kHangulVCount = 21, kHangulTCount = 28;
constexpr uint32_t kHangulSCount = kHangulLCount * kHangulVCount * kHangulTCount;

struct Part {
  uint32_t code_point, combining_class, source;
};

uint32_t combining_class(uint32_t c) {
  return kCombining[kCombiningIndex[c >> kBlockBits] << kBlockBits | (c & ((1u << kBlockBits) - 1))];
}

void decompose(uint32_t c, uint32_t source, std::vector<Part>& out) {
  if (c - kHangulS < kHangulSCount) {
    const uint32_t s = c - kHangulS;
    out.push_back({kHangulL + s / (kHangulVCount * kHangulTCount), 0, source});
    out.push_back({kHangulV + s / kHangulTCount % kHangulVCount, 0, source});
    if (s % kHangulTCount != 0) out.push_back({kHangulT + s % kHangulTCount, 0, source});
    return;
  }
  const Decomposition* last = kDecompositions + kDecompositionCount;
  const Decomposition* found =
      std::lower_bound(kDecompositions, last, c, [](const Decomposition& d, uint32_t value) { return d.code_point < value; });
  if (found == last || found->code_point != c) {
    out.push_back({c, combining_class(c), source});
    return;
  }
  for (uint32_t i = 0; i < found->parts % 8; i++) {
    const uint32_t part = kParts[found->parts / 8 + i];
    out.push_back({part, combining_class(part), source});
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

// Orders marks and composes, in place. The first part is a starter, unless the text begins with marks.
void recompose(std::vector<Part>& parts) {
  for (size_t i = 0; i < parts.size();) {
    size_t end = i;
    while (end < parts.size() && parts[end].combining_class != 0) end++;
    std::stable_sort(parts.begin() + static_cast<ptrdiff_t>(i), parts.begin() + static_cast<ptrdiff_t>(end),
                     [](const Part& a, const Part& b) { return a.combining_class < b.combining_class; });
    i = end + 1;
  }
  size_t kept = 0, starter = SIZE_MAX;
  uint32_t last_class = 0;
  for (const Part part : parts) {
    // A mark is blocked from the starter by a kept mark of the same or a higher class between them.
    if (starter != SIZE_MAX && (kept == starter + 1 || last_class < part.combining_class)) {
      if (const uint32_t composed = compose(parts[starter].code_point, part.code_point)) {
        parts[starter].code_point = composed;
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

void append_nfc(std::string_view text, std::string& out, std::vector<uint32_t>* source) {
  const char *begin = text.data(), *end = begin + text.size();
  // Characters of no concern begin a new stretch: nothing before them can join them.
  std::vector<Part> parts;
  const auto flush = [&] {
    if (parts.size() > 1 || (parts.size() == 1 && parts[0].combining_class != 0)) recompose(parts);
    for (const Part& part : parts) {
      append(out, part.code_point);
      if (source) source->resize(out.size(), part.source);
    }
    parts.clear();
  };
  if (source) source->resize(out.size());
  for (const char* p = begin; p < end;) {
    const Character c = decode(p, end);
    const uint32_t at = static_cast<uint32_t>(p - begin);
    p += c.length;
    if (property(c.code_point) & kConcernsNfc) {
      decompose(c.code_point, at, parts);
      continue;
    }
    flush();
    // Followed by nothing of concern, it stays as it is; only otherwise is it worth taking apart.
    if (p < end && property(decode(p, end).code_point) & kConcernsNfc) {
      decompose(c.code_point, at, parts);
    } else {
      append(out, c.code_point);
      if (source) source->resize(out.size(), at);
    }
  }
  flush();
}

}  // namespace infernode::unicode
