// Finds all pieces of a vocabulary that a text begins with.
#pragma once

#include <cstdint>
#include <string_view>

#include "array.h"
#include "result.h"
#include "tokenizer/vocabulary.h"

namespace infernode {

// A tree over the bytes of pieces. Children of a node lie next to each other, ordered by their byte.
class Trie {
 public:
  // Longer pieces are refused: matching takes time in proportion to the longest.
  static constexpr size_t kMaxPiece = 1024;

  // Of `ids`, whose order changes. TOKENIZER_INVALID for a piece that is too long.
  static Result<Trie> make(const Vocabulary& vocabulary, Array<int32_t>& ids, std::string_view source_name);

  static constexpr uint32_t kRoot = 0;
  // The node after `node` and a byte; -1: nothing goes on that way.
  int64_t next(uint32_t node, char byte) const {
    const Node& from = nodes_[node];
    const uint8_t label = static_cast<uint8_t>(byte);
    uint32_t low = from.first_child, count = from.children;
    if (node == kRoot) {
      const uint32_t child = roots_[label];
      return child == 0 ? -1 : static_cast<int64_t>(child);
    }
    while (count > 0) {
      const uint32_t half = count / 2;
      if (nodes_[low + half].label < label) {
        low += half + 1;
        count -= half + 1;
      } else {
        count = half;
      }
    }
    return low < from.first_child + from.children && nodes_[low].label == label ? static_cast<int64_t>(low) : -1;
  }
  // The node after all bytes of `text`; -1: none.
  int64_t walk(uint32_t node, std::string_view text) const {
    int64_t at = node;
    for (size_t i = 0; i < text.size() && at >= 0; i++) at = next(static_cast<uint32_t>(at), text[i]);
    return at;
  }
  // The piece that ends at a node; -1: none.
  int32_t id(uint32_t node) const { return nodes_[node].id; }

 private:
  struct Node {
    uint32_t first_child;
    uint16_t children;
    uint8_t label;
    int32_t id;
  };
  Array<Node> nodes_;
  uint32_t roots_[256] = {};
};

}  // namespace infernode
