// UTF-8, character classes, lower case, normalization forms and graphemes, over the generated tables.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/unicode_tables.h"

namespace infernode::unicode {

inline uint8_t property(uint32_t c) {
  return kProperties[kPropertyIndex[c >> kBlockBits] << kBlockBits | (c & ((1u << kBlockBits) - 1))];
}

// A set of categories: one bit per category, and one for white space, which is not a category.
using Classes = uint32_t;
constexpr Classes classes(Category c) { return Classes{1} << c; }
constexpr Classes kUpper = classes(kLu) | classes(kLt), kLower = classes(kLl), kOtherLetter = classes(kLm) | classes(kLo);
constexpr Classes kLetter = kUpper | kLower | kOtherLetter;
constexpr Classes kMark = classes(kMn) | classes(kMc) | classes(kMe);
constexpr Classes kNumber = classes(kNd) | classes(kNl) | classes(kNo);
constexpr Classes kPunctuation =
    classes(kPc) | classes(kPd) | classes(kPe) | classes(kPf) | classes(kPi) | classes(kPo) | classes(kPs);
constexpr Classes kSymbol = classes(kSc) | classes(kSk) | classes(kSm) | classes(kSo);
constexpr Classes kSpace = Classes{1} << 31;

inline Classes classes_of(uint32_t c) {
  const uint8_t p = property(c);
  return Classes{1} << (p & 0x1F) | (p & 0x20 ? kSpace : 0);
}

struct Character {
  uint32_t code_point;
  uint32_t length;  // in bytes; 0 at the end of the text
};

// The character at `p`. Bytes that are not UTF-8 count as U+FFFD, as many at once as the WHATWG decoder takes.
Character decode_slow(const char* p, const char* end);
inline Character decode(const char* p, const char* end) {
  if (p < end && static_cast<unsigned char>(*p) < 0x80) return {static_cast<unsigned char>(*p), 1};
  return decode_slow(p, end);
}

void append(std::string& out, uint32_t code_point);

// The text, if it is well-formed UTF-8; else `storage` with U+FFFD for what is not.
std::string_view well_formed(std::string_view text, std::string& storage);

// True if `text` is surely in NFC already, as nearly all text is.
bool surely_nfc(std::string_view text);

enum class Form : uint8_t { kNfc, kNfd, kNfkc, kNfkd };

// Appends `text` in a normalization form. `source`, if given, gets for each byte added where in `text` the character starts
// that it came from: parts of a character share its place, what is composed has that of its first character. Stops early when
// `out` exceeds `limit` bytes.
void append_normalized(std::string_view text, Form form, size_t limit, std::string& out, std::vector<uint32_t>* source);

// Appends the lower case of a character, by Unicode's full mapping without context.
void append_lowercase(std::string& out, uint32_t code_point);

// The end of the grapheme cluster (UAX #29) that starts at `p`. Exact for clusters shorter than 6 bytes, which is all that
// is asked of it: longer ones, as of Hangul or of emoji, may be cut into several.
const char* short_grapheme_end(const char* p, const char* end);

}  // namespace infernode::unicode
