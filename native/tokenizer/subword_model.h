// What the kinds of tokenizers have in common: a word goes in, ids come out.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "array.h"
#include "result.h"
#include "tokenizer/merge.h"

namespace infernode {

// Where ids go. Spans are bytes of the word's text, plus `base`; none are kept unless asked for.
struct TokenSink {
  std::vector<int32_t>& ids;
  std::vector<uint32_t>* spans;
  uint32_t base = 0;

  void add(int32_t id, uint32_t start, uint32_t length) {
    ids.push_back(id);
    if (!spans) return;
    spans->push_back(base + start);
    spans->push_back(base + start + length);
  }
};

// Where the best path through a word comes from, for each byte that it may end at.
struct PathNode {
  double score;
  int32_t id;  // -1: nothing ends here
  uint32_t start;
};

// Memory for one word at a time. Kept between words, so that it is allocated once.
struct WordScratch {
  MergeScratch merges;
  Array<PathNode> path;
};

class SubwordModel {
 public:
  virtual ~SubwordModel() = default;
  // Well-formed UTF-8, or bytes of a character that a pattern cut. Fails only for lack of memory.
  virtual Status encode(std::string_view word, WordScratch& scratch, TokenSink& sink) const = 0;
};

}  // namespace infernode
