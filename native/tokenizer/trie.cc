// Built from sorted pieces, level by level: a node is a range of pieces that begin alike.
#include "tokenizer/trie.h"

#include <algorithm>

namespace infernode {

Result<Trie> Trie::make(const Vocabulary& vocabulary, Array<int32_t>& ids, std::string_view source_name) {
  const auto piece = [&](size_t i) { return vocabulary.piece(ids[i]); };
  std::sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) { return vocabulary.piece(a) < vocabulary.piece(b); });
  size_t count = 1;
  for (size_t i = 0; i < ids.size(); i++) {
    if (piece(i).size() > kMaxPiece)
      return error(ErrorCode::kTokenizerInvalid,
                   {std::string(source_name), "the vocabulary", "\"" + shown(piece(i)) + "\" is too long for a piece"});
    size_t shared = 0;
    if (i > 0) {
      const std::string_view before = piece(i - 1), now = piece(i);
      const size_t most = std::min(before.size(), now.size());
      while (shared < most && before[shared] == now[shared]) shared++;
    }
    count += piece(i).size() - shared;
  }
  if (count > UINT32_MAX) return error(ErrorCode::kTokenizerInvalid, {std::string(source_name), "the vocabulary", "too large"});

  // Which of the sorted pieces go through a node.
  struct Range {
    uint32_t low, high, depth;
  };
  Trie trie;
  INFERNODE_ASSIGN(nodes, Array<Node>::make(count, "the vocabulary"));
  INFERNODE_ASSIGN(ranges, Array<Range>::make(count, "the vocabulary"));
  nodes[0].id = -1;
  ranges[0] = {0, static_cast<uint32_t>(ids.size()), 0};
  uint32_t used = 1;
  for (uint32_t at = 0; at < used; at++) {
    auto [low, high, depth] = ranges[at];
    nodes[at].first_child = used;
    for (; low < high && piece(low).size() == depth; low++) nodes[at].id = ids[low];
    while (low < high) {
      const uint8_t label = static_cast<uint8_t>(piece(low)[depth]);
      uint32_t end = low;
      while (end < high && static_cast<uint8_t>(piece(end)[depth]) == label) end++;
      nodes[used] = {0, 0, label, -1};
      ranges[used] = {low, end, depth + 1};
      if (at == 0) trie.roots_[label] = used;
      nodes[at].children++;
      used++;
      low = end;
    }
  }
  trie.nodes_ = std::move(nodes);
  return trie;
}

}  // namespace infernode
