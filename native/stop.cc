// The automaton of stop.h.
#include "stop.h"

namespace infernode {

StopMatcher::StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {
  nodes_.emplace_back();
  for (size_t i = 0; i < stops_.size(); i++) {
    if (stops_[i].empty()) continue;
    int32_t node = 0;
    for (char byte : stops_[i]) node = add_child(node, byte);
    if (nodes_[static_cast<size_t>(node)].match < 0) nodes_[static_cast<size_t>(node)].match = static_cast<int32_t>(i);
  }
  // Breadth first, so that a fallback, which is less deep, is finished before it is used.
  std::vector<int32_t> queue{0};
  for (size_t i = 0; i < queue.size(); i++) {
    const int32_t parent = queue[i];
    for (int32_t c = nodes_[static_cast<size_t>(parent)].first_child; c >= 0; c = nodes_[static_cast<size_t>(c)].next_sibling) {
      Node& node = nodes_[static_cast<size_t>(c)];
      if (parent != 0) node.fallback = next(nodes_[static_cast<size_t>(parent)].fallback, node.byte);
      if (node.match < 0) node.match = nodes_[static_cast<size_t>(node.fallback)].match;
      queue.push_back(c);
    }
  }
}

int32_t StopMatcher::child(int32_t node, char byte) const {
  int32_t c = nodes_[static_cast<size_t>(node)].first_child;
  while (c >= 0 && nodes_[static_cast<size_t>(c)].byte != byte) c = nodes_[static_cast<size_t>(c)].next_sibling;
  return c;
}

int32_t StopMatcher::add_child(int32_t parent, char byte) {
  if (const int32_t found = child(parent, byte); found >= 0) return found;
  const auto added = static_cast<int32_t>(nodes_.size());
  Node node;
  node.next_sibling = nodes_[static_cast<size_t>(parent)].first_child;
  node.depth = nodes_[static_cast<size_t>(parent)].depth + 1;
  node.byte = byte;
  nodes_.push_back(node);
  nodes_[static_cast<size_t>(parent)].first_child = added;
  return added;
}

// A step back along fallbacks gives up at least one byte of depth, a step forward gains one: linear in all.
int32_t StopMatcher::next(int32_t state, char byte) const {
  for (;;) {
    if (const int32_t c = child(state, byte); c >= 0) return c;
    if (state == 0) return 0;
    state = nodes_[static_cast<size_t>(state)].fallback;
  }
}

int StopMatcher::push(std::string_view text, std::string& out) {
  if (matched_ >= 0) return matched_;
  for (char byte : text) {
    state_ = next(state_, byte);
    held_ += byte;
    const Node& node = nodes_[static_cast<size_t>(state_)];
    if (node.match < 0) continue;
    matched_ = node.match;
    out.append(held_, 0, held_.size() - stops_[static_cast<size_t>(matched_)].size());
    held_.clear();
    return matched_;
  }
  // The state is what the text ends with that may still become a match. A stop string begins with a whole character, and so
  // does the state: the cut never splits one.
  const size_t free = held_.size() - static_cast<size_t>(nodes_[static_cast<size_t>(state_)].depth);
  out.append(held_, 0, free);
  held_.erase(0, free);
  return -1;
}

void StopMatcher::finish(std::string& out) {
  out += held_;
  held_.clear();
  state_ = 0;
}

}  // namespace infernode
