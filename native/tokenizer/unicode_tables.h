// Written by scripts/unicode.mjs from Unicode 17.0. Do not edit.
#pragma once

#include <cstddef>
#include <cstdint>

namespace infernode::unicode {

// General categories, in the order of their two-letter names.
enum Category : uint8_t {
  kCn, kCc, kCf, kCo, kCs, kLl, kLm, kLo, kLt, kLu, kMc, kMe, kMn, kNd, kNl, kNo, kPc, kPd, kPe, kPf,
  kPi, kPo, kPs, kSc, kSk, kSm, kSo, kZl, kZp, kZs
};

constexpr int kBlockBits = 8;
// Per code point, through kPropertyIndex[c >> kBlockBits]: category, 0x20 white space, 0x40 of concern to NFC, 0x80 joins the
// grapheme before it.
extern const uint8_t kPropertyIndex[4352];
extern const uint8_t kProperties[42240];
// Canonical combining classes as dense ranks; 0 is a starter.
extern const uint8_t kCombiningIndex[4352];
extern const uint8_t kCombining[17664];

// Full canonical decompositions without Hangul, by code point: 'parts' is offset in kParts * 32 + length.
struct Decomposition {
  uint32_t code_point, parts;
};
constexpr size_t kDecompositionCount = 2081;
extern const Decomposition kDecompositions[kDecompositionCount];
// Full compatibility decompositions, where they are not the canonical ones.
constexpr size_t kCompatibilityCount = 3849;
extern const Decomposition kCompatibility[kCompatibilityCount];
extern const uint32_t kParts[9222];

// Canonical compositions, by first and second.
struct Composition {
  uint32_t first, second, composed;
};
constexpr size_t kCompositionCount = 961;
extern const Composition kCompositions[kCompositionCount];

// Every `step`th code point from first to last has its lower case `delta` further. U+0130 is not among them.
struct LowercaseRange {
  uint32_t first, last, step;
  int32_t delta;
};
constexpr size_t kLowercaseCount = 185;
extern const LowercaseRange kLowercase[kLowercaseCount];

}  // namespace infernode::unicode
