// Words are bytes; a table from pairs of ids to rank and merged id drives the merging.
#include "tokenizer/bpe.h"

#include <string>

#include "tokenizer/unicode.h"

namespace infernode {
namespace {

constexpr size_t kMaxProbes = 2000;
// A longer word than this is not looked up whole.
constexpr size_t kMaxWholeWord = 1024;

class ByteLevelBpe final : public SubwordModel {
 public:
  ByteLevelBpe(const Vocabulary& vocabulary, const BpeOptions& options) : vocabulary_(vocabulary), options_(options) {
    for (int b = 0; b < 256; b++) {
      std::string& spelling = alphabet_[b];
      unicode::append(spelling, byte_level_character(static_cast<uint8_t>(b)));
      const int32_t id = vocabulary.find(spelling);
      byte_ids_[b] = id >= 0 && !vocabulary.is_special(id) ? id : -1;
    }
  }

  Status index(const Array<MergeRule>& merges) {
    size_t capacity = 16;
    while (capacity < 2 * merges.size()) capacity *= 2;
    INFERNODE_ASSIGN(slots, Array<Slot>::make(capacity, "the merges"));
    for (size_t rank = 0; rank < merges.size(); rank++) {
      const MergeRule& rule = merges[rank];
      // However it is spelled, text must not merge into a control token.
      if (vocabulary_.is_special(rule.merged)) continue;
      size_t i = place(rule.left, rule.right, capacity - 1), probes = 0;
      while (slots[i].used && !(slots[i].left == rule.left && slots[i].right == rule.right)) {
        i = (i + 1) & (capacity - 1);
        if (++probes > kMaxProbes)
          return error(ErrorCode::kTokenizerInvalid, {"the vocabulary", "merges", "they are made to collide"});
      }
      // Of a rule that is there twice, the first counts.
      if (!slots[i].used) slots[i] = {rule.left, rule.right, static_cast<uint32_t>(rank), rule.merged, true};
    }
    slots_ = std::move(slots);
    return {};
  }

  Status encode(std::string_view word, MergeScratch& scratch, TokenSink& sink) const override {
    if (options_.ignore_merges && word.size() <= kMaxWholeWord) {
      std::string spelling;
      for (const char c : word) spelling += alphabet_[static_cast<unsigned char>(c)];
      const int32_t id = vocabulary_.find(spelling);
      if (id >= 0 && !vocabulary_.is_special(id)) {
        sink.add(id, 0, static_cast<uint32_t>(word.size()));
        return {};
      }
    }
    INFERNODE_TRY(scratch.reserve(word.size()));
    scratch.clear();
    for (uint32_t i = 0; i < word.size(); i++) scratch.add(byte_ids_[static_cast<unsigned char>(word[i])], i, 1);
    scratch.merge([this](const Symbol& left, const Symbol& right) { return find(left.id, right.id); });
    for (size_t i = 0; i < scratch.count(); i++) {
      const Symbol& symbol = scratch[i];
      if (symbol.length == 0) continue;
      const int32_t id = symbol.id >= 0 ? symbol.id : options_.unknown_id;
      if (id >= 0) sink.add(id, symbol.start, symbol.length);
    }
    return {};
  }

 private:
  struct Slot {
    int32_t left, right;
    uint32_t rank;
    int32_t merged;
    bool used;
  };

  static size_t place(int32_t left, int32_t right, size_t mask) {
    const uint64_t key = static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
    const uint64_t h = (key ^ key >> 29) * 0x9E3779B97F4A7C15u;
    return static_cast<size_t>(h ^ h >> 32) & mask;
  }

  MergedPair find(int32_t left, int32_t right) const {
    const size_t mask = slots_.size() - 1;
    for (size_t i = place(left, right, mask); slots_[i].used; i = (i + 1) & mask)
      if (slots_[i].left == left && slots_[i].right == right) return {slots_[i].rank, slots_[i].merged};
    return kNoPair;
  }

  const Vocabulary& vocabulary_;
  BpeOptions options_;
  std::string alphabet_[256];
  int32_t byte_ids_[256];
  Array<Slot> slots_;
};

}  // namespace

Result<std::unique_ptr<SubwordModel>> make_byte_level_bpe(const Vocabulary& vocabulary, const Array<MergeRule>& merges,
                                                          const BpeOptions& options) {
  auto model = std::make_unique<ByteLevelBpe>(vocabulary, options);
  INFERNODE_TRY(model->index(merges));
  return std::unique_ptr<SubwordModel>(std::move(model));
}

}  // namespace infernode
