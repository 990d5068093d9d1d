// SentencePiece's normalization table: what characters, or sequences of them, are replaced by. It comes from files and may be
// hostile, so every access is checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "array.h"
#include "result.h"

namespace infernode {

// As the file stores it: the size of a double-array trie as u32, its units as u32, then texts that end with a zero byte. A
// leaf's value is where in the texts its replacement starts.
class Charsmap {
 public:
  Charsmap() = default;
  // TOKENIZER_INVALID if sizes do not fit together or the texts are not UTF-8.
  static Result<Charsmap> make(Array<char> table, std::string_view source_name);

  struct Match {
    std::string_view replacement;
    size_t length;  // of what it replaces, in bytes
  };
  // The shortest or the longest sequence in the table that `text` begins with.
  std::optional<Match> find(std::string_view text, bool longest) const;

 private:
  uint32_t unit(size_t i) const;

  Array<char> table_;
  size_t units_ = 0;
  std::string_view texts_;
};

}  // namespace infernode
