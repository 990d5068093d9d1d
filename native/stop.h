// Stop strings: finds them in text that arrives in pieces, and holds back what may be the beginning of one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace infernode {

// Any number of stop strings at once (empty ones never match), in time linear in the text: Aho & Corasick, "Efficient string
// matching", CACM 18(6), 1975. Where several match, the one that ends first wins; of those that end together, the longest,
// as the text before it is the shortest. Stops and pieces must be valid UTF-8; then so is everything that is let through.
class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stops);

  // Appends to `out` all text that no longer can be part of a match. Returns -1, or the index of the stop string that matched:
  // then `out` ends just before it, and text after it is dropped, now and in later calls.
  int push(std::string_view text, std::string& out);

  // No more text comes: what was held back is text after all.
  void finish(std::string& out);

 private:
  // A state is a prefix of a stop string: the longest one that the text so far ends with.
  struct Node {
    int32_t first_child = -1, next_sibling = -1;  // the trie
    int32_t fallback = 0;                         // the longest proper suffix that is a state too
    int32_t depth = 0;                            // bytes; what must be held back in this state
    int32_t match = -1;                           // the longest stop string that ends here
    char byte = 0;
  };
  int32_t child(int32_t node, char byte) const;
  int32_t add_child(int32_t parent, char byte);
  int32_t next(int32_t state, char byte) const;

  std::vector<std::string> stops_;
  std::vector<Node> nodes_;
  int32_t state_ = 0;
  int matched_ = -1;
  std::string held_;  // between calls nodes_[state_].depth bytes: what the text ends with
};

}  // namespace infernode
