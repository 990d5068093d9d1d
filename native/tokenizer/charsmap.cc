// Walks the double array: the unit of a node tells where its children are, and a child says which byte leads to it.
#include "tokenizer/charsmap.h"

#include <cstring>

#include "tokenizer/unicode.h"

namespace infernode {
namespace {

// Real tables have sequences of a few characters, and replacements of at most 18; more would make a hostile one slow.
constexpr size_t kMaxSequence = 64, kMaxReplacement = 1024;

bool has_leaf(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t value(uint32_t unit) { return unit & 0x7FFFFFFFu; }
uint32_t label(uint32_t unit) { return unit & 0x800000FFu; }
uint32_t offset(uint32_t unit) { return unit >> 10 << ((unit & 0x200) >> 6); }

}  // namespace

Result<Charsmap> Charsmap::make(Array<char> table, std::string_view source_name) {
  const auto invalid = [&](const char* reason) {
    return error(ErrorCode::kTokenizerInvalid, {std::string(source_name), "precompiled_charsmap", reason});
  };
  Charsmap map;
  if (table.size() == 0) return map;
  uint32_t bytes = 0;
  if (table.size() < 4) return invalid("shorter than its size");
  std::memcpy(&bytes, table.data(), 4);
  if (bytes % 4 != 0 || bytes > table.size() - 4) return invalid("the trie is larger than the table");
  map.units_ = bytes / 4;
  map.texts_ = {table.data() + 4 + bytes, table.size() - 4 - bytes};
  std::string storage;
  if (unicode::well_formed(map.texts_, storage).data() != map.texts_.data()) return invalid("the texts are not UTF-8");
  map.table_ = std::move(table);
  return map;
}

uint32_t Charsmap::unit(size_t i) const {
  uint32_t unit;
  std::memcpy(&unit, table_.data() + 4 + 4 * i, 4);
  return unit;
}

std::optional<Charsmap::Match> Charsmap::find(std::string_view text, bool longest) const {
  if (units_ == 0) return std::nullopt;
  std::optional<Match> found;
  size_t at = offset(unit(0));
  for (size_t i = 0; i < text.size() && i < kMaxSequence; i++) {
    const unsigned char byte = static_cast<unsigned char>(text[i]);
    at ^= byte;
    if (byte == 0 || at >= units_) break;
    const uint32_t node = unit(at);
    if (label(node) != byte) break;
    at ^= offset(node);
    if (!has_leaf(node)) continue;
    if (at >= units_ || value(unit(at)) >= texts_.size()) break;
    const std::string_view rest = texts_.substr(value(unit(at)), kMaxReplacement);
    const size_t end = rest.find('\0');
    if (end == std::string_view::npos || (static_cast<unsigned char>(rest[0]) & 0xC0) == 0x80) break;
    found = Match{rest.substr(0, end), i + 1};
    if (!longest) break;
  }
  return found;
}

}  // namespace infernode
