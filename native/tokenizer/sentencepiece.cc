// Two neighbours merge if their text together is a piece; the piece with the highest score goes first.
#include "tokenizer/sentencepiece.h"

#include <algorithm>
#include <string>

#include "tokenizer/unicode.h"

namespace infernode {
namespace {

constexpr char kSpaceMark[] = "\xE2\x96\x81";

class SentencePieceModel final : public SubwordModel {
 public:
  SentencePieceModel(const Vocabulary& vocabulary, const SentencePieceOptions& options)
      : vocabulary_(vocabulary), options_(options) {}

  Status prepare(std::string_view source_name, std::array<bool, 256>& joins_space_mark) {
    const int32_t size = static_cast<int32_t>(vocabulary_.size());
    INFERNODE_ASSIGN(ranks, Array<uint32_t>::make(static_cast<size_t>(size), "the vocabulary"));
    INFERNODE_ASSIGN(scores, Array<double>::make(static_cast<size_t>(size), "the vocabulary"));
    for (int32_t id = 0; id < size; id++) scores[static_cast<size_t>(id)] = vocabulary_.score(id);
    // Ranks instead of scores: the highest score is 0, equal scores have equal ranks.
    std::sort(scores.begin(), scores.end(), [](double a, double b) { return a > b; });
    const double* distinct_end = std::unique(scores.begin(), scores.end());
    for (int32_t id = 0; id < size; id++) {
      const double* found = std::lower_bound(static_cast<const double*>(scores.data()), distinct_end, vocabulary_.score(id),
                                             [](double a, double b) { return a > b; });
      ranks[static_cast<size_t>(id)] = static_cast<uint32_t>(found - scores.data());
      if (!in_text(id)) continue;
      const std::string_view piece = vocabulary_.piece(id);
      longest_ = std::max(longest_, piece.size());
      note_space_marks(piece, joins_space_mark);
    }
    ranks_ = std::move(ranks);
    for (int b = 0; b < 256; b++) {
      const std::string name = byte_piece(static_cast<uint8_t>(b));
      byte_ids_[b] = vocabulary_.find(name);
      if (byte_ids_[b] >= 0 && vocabulary_.kind(byte_ids_[b]) != TokenKind::kByte) byte_ids_[b] = -1;
      if (byte_ids_[b] < 0 && options_.unknown_id < 0)
        return error(ErrorCode::kTokenizerInvalid,
                     {std::string(source_name), "tokens", "there is neither " + name + " nor an unknown token"});
    }
    return {};
  }

  Status encode(std::string_view word, WordScratch& scratch, TokenSink& sink) const override {
    MergeScratch& merges = scratch.merges;
    INFERNODE_TRY(merges.reserve(word.size()));
    merges.clear();
    const char *begin = word.data(), *end = begin + word.size();
    for (const char* p = begin; p < end;) {
      const uint32_t length = unicode::decode(p, end).length;
      const int32_t id = vocabulary_.find({p, length});
      merges.add(id >= 0 && in_text(id) ? id : -1, static_cast<uint32_t>(p - begin), length);
      p += length;
    }
    merges.merge([this, begin](const Symbol& left, const Symbol& right) {
      const uint32_t length = left.length + right.length;
      if (length > longest_) return kNoPair;
      const int32_t id = vocabulary_.find({begin + left.start, length});
      return id >= 0 && in_text(id) ? MergedPair{ranks_[static_cast<size_t>(id)], id} : kNoPair;
    });
    for (size_t i = 0; i < merges.count(); i++) {
      const Symbol& symbol = merges[i];
      if (symbol.length == 0) continue;
      if (symbol.id >= 0) {
        sink.add(symbol.id, symbol.start, symbol.length);
      } else {
        add_bytes(word.substr(symbol.start, symbol.length), symbol, sink);
      }
    }
    return {};
  }

 private:
  // Control, unknown and byte pieces are never found by their spelling.
  bool in_text(int32_t id) const {
    const TokenKind kind = vocabulary_.kind(id);
    return kind == TokenKind::kNormal || kind == TokenKind::kUserDefined || kind == TokenKind::kUnused;
  }

  // A character without a piece. All its bytes have ids, or it is unknown as a whole.
  void add_bytes(std::string_view bytes, const Symbol& symbol, TokenSink& sink) const {
    const auto missing = [this](char c) { return byte_ids_[static_cast<unsigned char>(c)] < 0; };
    if (std::any_of(bytes.begin(), bytes.end(), missing)) return sink.add(options_.unknown_id, symbol.start, symbol.length);
    for (const char c : bytes) sink.add(byte_ids_[static_cast<unsigned char>(c)], symbol.start, symbol.length);
  }

  const Vocabulary& vocabulary_;
  SentencePieceOptions options_;
  Array<uint32_t> ranks_;
  int32_t byte_ids_[256];
  size_t longest_ = 0;
};

}  // namespace

void note_space_marks(std::string_view piece, std::array<bool, 256>& joins_space_mark) {
  for (size_t at = piece.find(kSpaceMark, 1); at != std::string_view::npos; at = piece.find(kSpaceMark, at + 1))
    if (!piece.substr(0, at).ends_with(kSpaceMark)) joins_space_mark[static_cast<unsigned char>(piece[at - 1])] = true;
}

Result<SentencePiece> make_sentencepiece(const Vocabulary& vocabulary, const SentencePieceOptions& options,
                                         std::string_view source_name) {
  auto model = std::make_unique<SentencePieceModel>(vocabulary, options);
  SentencePiece made;
  INFERNODE_TRY(model->prepare(source_name, made.joins_space_mark));
  made.model = std::move(model);
  return made;
}

}  // namespace infernode
