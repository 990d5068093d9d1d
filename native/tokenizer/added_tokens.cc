// A sorted list serves as the trie: each byte of the text narrows the range of entries that begin so.
#include "tokenizer/added_tokens.h"

#include <algorithm>

#include "tokenizer/unicode.h"

namespace infernode {
namespace {

constexpr size_t kMaxContent = 1024;

bool is_word(uint32_t c) {
  constexpr unicode::Classes word = unicode::kLetter | unicode::kMark | unicode::classes(unicode::kNd) |
                                    unicode::classes(unicode::kNl) | unicode::classes(unicode::kPc);
  return (unicode::classes_of(c) & word) != 0 || c == 0x200C || c == 0x200D;
}

// The start of the character that ends at `end`.
size_t before(std::string_view text, size_t end) {
  do end--;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
  return end;
}

uint32_t at(std::string_view text, size_t i) { return unicode::decode(text.data() + i, text.data() + text.size()).code_point; }

bool is_space(uint32_t c) { return (unicode::classes_of(c) & unicode::kSpace) != 0; }

}  // namespace

Result<AddedTokens> AddedTokens::make(std::vector<Entry> entries, std::string_view source_name) {
  AddedTokens made;
  for (const Entry& entry : entries)
    if (entry.content.empty() || entry.content.size() > kMaxContent)
      return error(ErrorCode::kTokenizerInvalid,
                   {std::string(source_name), "added tokens", "\"" + shown(entry.content) + "\" is empty or too long"});
  made.entries_ = std::move(entries);
  std::stable_sort(made.entries_.begin(), made.entries_.end(),
                   [](const Entry& a, const Entry& b) { return a.content < b.content; });
  for (const Entry& entry : made.entries_) made.first_[static_cast<unsigned char>(entry.content[0]) + 1]++;
  for (size_t b = 0; b < 256; b++) made.first_[b + 1] += made.first_[b];
  return made;
}

AddedTokens::Match AddedTokens::next(std::string_view text, size_t from, bool with_special) const {
  if (entries_.empty()) return {text.size(), text.size(), -1};
  for (size_t start = from; start < text.size(); start++) {
    const unsigned char byte = static_cast<unsigned char>(text[start]);
    size_t low = first_[byte], high = first_[byte + 1];
    const Entry* found = nullptr;
    for (size_t depth = 1; low < high; depth++) {
      // Of the entries in the range, the shortest is first: it ends here, or none does.
      for (; low < high && entries_[low].content.size() == depth; low++)
        if (with_special || !entries_[low].token.special) found = &entries_[low];
      if (low == high || start + depth == text.size()) break;
      const unsigned char next = static_cast<unsigned char>(text[start + depth]);
      const auto byte_at = [depth](const Entry& entry) { return static_cast<unsigned char>(entry.content[depth]); };
      const auto first = entries_.begin() + static_cast<ptrdiff_t>(low), last = entries_.begin() + static_cast<ptrdiff_t>(high);
      const auto new_low = std::partition_point(first, last, [&](const Entry& entry) { return byte_at(entry) < next; });
      const auto new_high = std::partition_point(new_low, last, [&](const Entry& entry) { return byte_at(entry) == next; });
      low = static_cast<size_t>(new_low - entries_.begin());
      high = static_cast<size_t>(new_high - entries_.begin());
    }
    if (!found) continue;
    size_t begin = start, end = start + found->content.size();
    if (found->token.single_word) {
      const bool joins_left = begin > 0 && is_word(at(text, before(text, begin)));
      if (joins_left || (end < text.size() && is_word(at(text, end)))) continue;
    }
    if (found->token.lstrip)
      while (begin > from && is_space(at(text, before(text, begin)))) begin = before(text, begin);
    if (found->token.rstrip)
      while (end < text.size() && is_space(at(text, end)))
        end += unicode::decode(text.data() + end, text.data() + text.size()).length;
    return {begin, end, found->token.id};
  }
  return {text.size(), text.size(), -1};
}

}  // namespace infernode
