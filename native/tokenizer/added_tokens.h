// Finds added tokens (control tokens, user-defined pieces) in a text: the leftmost, and of those the longest.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "result.h"
#include "tokenizer/vocabulary.h"

namespace infernode {

class AddedTokens {
 public:
  struct Entry {
    std::string content;
    AddedToken token;
  };
  struct Match {
    size_t start, end;
    int32_t id;  // -1: none is left
  };

  AddedTokens() = default;
  // TOKENIZER_INVALID for contents of more than 1024 bytes, which would make matching slow.
  static Result<AddedTokens> make(std::vector<Entry> entries, std::string_view source_name);

  bool empty() const { return entries_.empty(); }
  // The next one that starts at `from` or after; white space that it takes along to its left starts at `from` or after, too.
  Match next(std::string_view text, size_t from, bool with_special) const;

 private:
  std::vector<Entry> entries_;  // by content, byte by byte
  uint32_t first_[257] = {};    // entries_[first_[b]] .. entries_[first_[b + 1]] begin with the byte b
};

}  // namespace infernode
