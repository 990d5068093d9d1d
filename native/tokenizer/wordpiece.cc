// One walk down a trie finds the longest piece.
#include "tokenizer/wordpiece.h"

#include "tokenizer/trie.h"
#include "tokenizer/unicode.h"

namespace infernode {
namespace {

class WordPieceModel final : public SubwordModel {
 public:
  WordPieceModel(Trie trie, const WordPieceOptions& options)
      : trie_(std::move(trie)),
        max_characters_(options.max_characters),
        unknown_id_(options.unknown_id),
        first_(trie_.walk(Trie::kRoot, options.word_prefix)),
        later_(trie_.walk(Trie::kRoot, options.continuing_prefix)) {}

  Status encode(std::string_view word, WordScratch&, TokenSink& sink) const override {
    const size_t ids = sink.ids.size(), spans = sink.spans ? sink.spans->size() : 0;
    size_t characters = 0;
    for (const char c : word) characters += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    bool covered = characters <= max_characters_;
    for (size_t start = 0; covered && start < word.size();) {
      size_t end = start;
      int32_t id = -1;
      int64_t node = start == 0 ? first_ : later_;
      for (size_t i = start; node >= 0 && i < word.size(); i++) {
        node = trie_.next(static_cast<uint32_t>(node), word[i]);
        if (node < 0 || trie_.id(static_cast<uint32_t>(node)) < 0) continue;
        id = trie_.id(static_cast<uint32_t>(node));
        end = i + 1;
      }
      covered = id >= 0;
      if (covered) sink.add(id, static_cast<uint32_t>(start), static_cast<uint32_t>(end - start));
      start = end;
    }
    if (covered) return {};
    sink.ids.resize(ids);
    if (sink.spans) sink.spans->resize(spans);
    sink.add(unknown_id_, 0, static_cast<uint32_t>(word.size()));
    return {};
  }

 private:
  Trie trie_;
  size_t max_characters_;
  int32_t unknown_id_;
  int64_t first_, later_;  // where pieces begin; -1: there are none
};

}  // namespace

Result<std::unique_ptr<SubwordModel>> make_wordpiece(const Vocabulary& vocabulary, const WordPieceOptions& options,
                                                     std::string_view source_name) {
  if (options.unknown_id < 0) return error(ErrorCode::kTokenizerInvalid, {std::string(source_name), "unk_token", "missing"});
  INFERNODE_ASSIGN(ids, vocabulary.ids_where([&](int32_t id) { return !vocabulary.is_special(id); }));
  INFERNODE_ASSIGN(trie, Trie::make(vocabulary, ids, source_name));
  return std::unique_ptr<SubwordModel>(new WordPieceModel(std::move(trie), options));
}

}  // namespace infernode
