// UTF-8, character classes and NFC, over the generated tables.
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

// Appends `text` in NFC. `source`, if given, gets for each byte added where in `text` the character starts that it came from.
void append_nfc(std::string_view text, std::string& out, std::vector<uint32_t>* source);

}  // namespace infernode::unicode
