// Viterbi's algorithm over a trie: for every place in the word, the best path that ends there.
#include "tokenizer/unigram.h"

#include <algorithm>

#include "tokenizer/trie.h"
#include "tokenizer/unicode.h"

namespace infernode {
namespace {

// How much worse than the worst piece an unknown character is.
constexpr double kUnknownPenalty = 10;

class UnigramModel final : public SubwordModel {
 public:
  UnigramModel(const Vocabulary& vocabulary, Trie trie, const UnigramOptions& options)
      : vocabulary_(vocabulary), trie_(std::move(trie)), options_(options) {
    double worst = 0;
    bool any = false;
    for (int32_t id = 0; id < static_cast<int32_t>(vocabulary.size()); id++) {
      const TokenKind kind = vocabulary.kind(id);
      if (id >= options.piece_count || (options.only_text && kind != TokenKind::kNormal)) continue;
      worst = any ? std::min(worst, vocabulary.score(id)) : vocabulary.score(id);
      any = true;
    }
    unknown_score_ = worst - kUnknownPenalty;
    for (int b = 0; b < 256; b++) byte_ids_[b] = vocabulary.find(byte_piece(static_cast<uint8_t>(b)));
  }

  Status encode(std::string_view word, WordScratch& scratch, TokenSink& sink) const override {
    const size_t size = word.size();
    if (scratch.path.size() <= size) {
      INFERNODE_ASSIGN(path, Array<PathNode>::make(std::max<size_t>(256, size + size / 2 + 1), "tokenizing"));
      scratch.path = std::move(path);
    }
    PathNode* path = scratch.path.data();
    for (size_t i = 1; i <= size; i++) path[i].id = -1;
    path[0] = {0, -1, 0};
    const auto offer = [&](size_t end, size_t start, int32_t id, double score) {
      if (path[end].id < 0 || score > path[end].score) path[end] = {score, id, static_cast<uint32_t>(start)};
    };
    for (size_t start = 0; start < size;) {
      const double till_here = path[start].score;
      const size_t single = start + std::max<size_t>(1, unicode::decode(word.data() + start, word.data() + size).length);
      bool has_single = false;
      int64_t node = Trie::kRoot;
      for (size_t i = start; i < size; i++) {
        node = trie_.next(static_cast<uint32_t>(node), word[i]);
        if (node < 0) break;
        const int32_t id = trie_.id(static_cast<uint32_t>(node));
        if (id < 0) continue;
        offer(i + 1, start, id == options_.unknown_id ? kUnknown : id, till_here + score(id));
        has_single = has_single || i + 1 == single;
      }
      if (!has_single) offer(single, start, kUnknown, till_here + unknown_score_);
      start = single;
    }
    // The way back, kept in the nodes: each `score` is no longer needed.
    uint32_t steps = 0;
    for (size_t end = size; end > 0; end = path[end].start) {
      path[steps].score = static_cast<double>(end);  // never beyond what is read next: steps < end
      steps++;
    }
    uint32_t start = 0;
    for (uint32_t step = steps; step > 0;) {
      uint32_t end = static_cast<uint32_t>(path[--step].score);
      const int32_t id = path[end].id;
      if (id != kUnknown) {
        sink.add(id, start, end - start);
        start = end;
        continue;
      }
      for (; step > 0; step--) {
        const uint32_t next = static_cast<uint32_t>(path[step - 1].score);
        if (path[next].id != kUnknown) break;
        end = next;
      }
      add_unknown(word.substr(start, end - start), start, sink);
      start = end;
    }
    return {};
  }

 private:
  static constexpr int32_t kUnknown = INT32_MAX;

  double score(int32_t id) const {
    return options_.only_text && vocabulary_.kind(id) == TokenKind::kUserDefined ? 0 : vocabulary_.score(id);
  }

  // Neighbours that are unknown, together. The unknown piece spelled out counts as unknown, too; by itself it is itself.
  void add_unknown(std::string_view text, uint32_t start, TokenSink& sink) const {
    const uint32_t length = static_cast<uint32_t>(text.size());
    if (options_.unknown_id >= 0 && text == vocabulary_.piece(options_.unknown_id))
      return sink.add(options_.unknown_id, start, length);
    const auto has_byte = [this](char c) { return byte_ids_[static_cast<unsigned char>(c)] >= 0; };
    if (options_.byte_fallback && std::all_of(text.begin(), text.end(), has_byte)) {
      for (const char c : text) sink.add(byte_ids_[static_cast<unsigned char>(c)], start, length);
    } else if (options_.unknown_id >= 0) {
      sink.add(options_.unknown_id, start, length);
    }
  }

  const Vocabulary& vocabulary_;
  Trie trie_;
  UnigramOptions options_;
  double unknown_score_ = 0;
  int32_t byte_ids_[256];
};

}  // namespace

Result<std::unique_ptr<SubwordModel>> make_unigram(const Vocabulary& vocabulary, const UnigramOptions& options,
                                                   std::string_view source_name) {
  if (options.unknown_id < 0) return error(ErrorCode::kTokenizerInvalid, {std::string(source_name), "unk_id", "missing"});
  if (!vocabulary.has_scores())
    return error(ErrorCode::kTokenizerInvalid, {std::string(source_name), "the vocabulary", "pieces without scores"});
  INFERNODE_ASSIGN(ids, vocabulary.ids_where([&](int32_t id) {
    const TokenKind kind = vocabulary.kind(id);
    if (id >= options.piece_count) return false;
    return !options.only_text || kind == TokenKind::kNormal || kind == TokenKind::kUserDefined || kind == TokenKind::kUnused;
  }));
  INFERNODE_ASSIGN(trie, Trie::make(vocabulary, ids, source_name));
  return std::unique_ptr<SubwordModel>(new UnigramModel(vocabulary, std::move(trie), options));
}

}  // namespace infernode
