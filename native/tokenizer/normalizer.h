// Rewrites text before it is split, and remembers where each byte came from.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "json.h"
#include "result.h"
#include "tokenizer/charsmap.h"

namespace infernode {

// Steps in the order in which they apply. Linear in the text.
class Normalizer {
 public:
  Normalizer() = default;
  // `steps` is the description's "normalizer"; `charsmap` is the table for its step "precompiled", if it has one.
  static Result<Normalizer> make(const json::Value& steps, Array<char> charsmap, std::string_view source_name);

  bool empty() const { return steps_.empty(); }

  // The text if nothing changes it, else `storage` with what became of it. `source`, if given, then has for each byte where in
  // `text` the character starts that it came from, and is empty if all bytes are still where they were. `text` is well-formed.
  // INVALID_ARGUMENT if a text grows beyond 1 GiB.
  Result<std::string_view> run(std::string_view text, std::string& storage, std::vector<uint32_t>* source) const;

 private:
  enum class Kind : uint8_t {
    kNfc,
    kNfd,
    kNfkc,
    kNfkd,
    kLowercase,
    kStripMarks,         // all combining marks
    kStripNonspacing,    // of these, those without a width
    kCleanText,          // BERT: no control characters, white space is a space
    kSpaceChinese,       // BERT: spaces around each Chinese character
    kStrip,              // white space at the ends
    kReplace,            // a text by another
    kReplaceSpaces,      // each run of at least `least` spaces
    kReplaceWhitespace,  // each run of at least `least` characters of white space
    kPrepend,
    kPrecompiled,
    kMarkSpaces,  // SentencePiece's treatment of spaces, as GGUF describes it
  };
  struct Step {
    Kind kind;
    std::string from, to;
    size_t least = 1;
    bool left = false, right = false;                    // kStrip
    bool longest = false;                                // kPrecompiled: SentencePiece's rule; else that of the Rust library
    bool prefix = false, suffix = false, merge = false;  // kMarkSpaces
  };
  struct Output;

  void apply(const Step& step, std::string_view in, Output& out) const;
  void apply_charsmap(const Step& step, std::string_view in, Output& out) const;
  static void mark_spaces(const Step& step, std::string_view in, Output& out);

  std::vector<Step> steps_;
  Charsmap charsmap_;
};

}  // namespace infernode
