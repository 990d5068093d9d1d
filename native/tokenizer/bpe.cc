// Words are bytes or characters; a table from pairs of ids to rank and merged id drives the merging.
#include "tokenizer/bpe.h"

#include <algorithm>
#include <string>

#include "tokenizer/unicode.h"

namespace infernode {
namespace {

constexpr size_t kMaxProbes = 2000;
// A longer word than this is not looked up whole.
constexpr size_t kMaxWholeWord = 1024;

class Bpe final : public SubwordModel {
 public:
  Bpe(const Vocabulary& vocabulary, const BpeOptions& options) : vocabulary_(vocabulary), options_(options) {
    for (int b = 0; b < 256; b++) {
      std::string& spelling = alphabet_[b];
      unicode::append(spelling, byte_level_character(static_cast<uint8_t>(b)));
      const int32_t id = vocabulary.find(spelling);
      byte_ids_[b] = in_text(id) ? id : -1;
      if (options.characters) byte_ids_[b] = vocabulary.find(byte_piece(static_cast<uint8_t>(b)));
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

  Status encode(std::string_view word, WordScratch& scratch, TokenSink& sink) const override {
    if (options_.ignore_merges && word.size() <= kMaxWholeWord) {
      const int32_t id = vocabulary_.find(options_.characters ? std::string(word) : spelled(word));
      if (in_text(id)) {
        sink.add(id, 0, static_cast<uint32_t>(word.size()));
        return {};
      }
    }
    MergeScratch& merges = scratch.merges;
    INFERNODE_TRY(merges.reserve(word.size()));
    merges.clear();
    if (options_.characters) {
      add_characters(word, merges);
    } else {
      for (uint32_t i = 0; i < word.size(); i++) merges.add(byte_ids_[static_cast<unsigned char>(word[i])], i, 1);
    }
    merges.merge([this](const Symbol& left, const Symbol& right) { return find(left.id, right.id); });
    for (size_t i = 0; i < merges.count(); i++) {
      const Symbol& symbol = merges[i];
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

  bool in_text(int32_t id) const { return id >= 0 && !vocabulary_.is_special(id); }

  std::string spelled(std::string_view word) const {
    std::string spelling;
    for (const char c : word) spelling += alphabet_[static_cast<unsigned char>(c)];
    return spelling;
  }

  void add_characters(std::string_view word, MergeScratch& merges) const {
    const char *begin = word.data(), *end = begin + word.size();
    uint32_t unknown_start = 0, unknown_length = 0;
    const auto add_unknown = [&] {
      if (unknown_length > 0) merges.add(-1, unknown_start, unknown_length);
      unknown_length = 0;
    };
    for (const char* p = begin; p < end;) {
      const uint32_t start = static_cast<uint32_t>(p - begin), length = unicode::decode(p, end).length;
      const std::string_view character(p, length);
      p += length;
      const int32_t id = vocabulary_.find(character);
      const auto has_byte = [this](char c) { return byte_ids_[static_cast<unsigned char>(c)] >= 0; };
      if (in_text(id)) {
        add_unknown();
        merges.add(id, start, length);
      } else if (options_.byte_fallback && std::all_of(character.begin(), character.end(), has_byte)) {
        add_unknown();
        for (uint32_t i = 0; i < length; i++) merges.add(byte_ids_[static_cast<unsigned char>(character[i])], start + i, 1);
      } else if (options_.unknown_id >= 0) {
        if (!options_.fuse_unknown) add_unknown();
        if (unknown_length == 0) unknown_start = start;
        unknown_length += length;
      }
    }
    add_unknown();
  }

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

Result<std::unique_ptr<SubwordModel>> make_bpe(const Vocabulary& vocabulary, const Array<MergeRule>& merges,
                                               const BpeOptions& options) {
  auto model = std::make_unique<Bpe>(vocabulary, options);
  INFERNODE_TRY(model->index(merges));
  return std::unique_ptr<SubwordModel>(std::move(model));
}

}  // namespace infernode
