// The steps, each from one spelling to the next.
#include "tokenizer/piece_decoder.h"

#include <algorithm>

#include "tokenizer/unicode.h"

namespace infernode {
namespace {

// What a replacement may be: enough for any mark, and too little to make a vocabulary much larger.
constexpr size_t kMaxReplacement = 64;

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

// What BERT's decoder does to English: spaces before punctuation and contractions go away.
void clean_up(std::string& text) {
  if (text.find(' ') == std::string::npos) return;
  static constexpr const char* kReplacements[][2] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},    {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
  };
  for (const auto& [from, to] : kReplacements) replace_all(text, from, to);
}

}  // namespace

uint32_t byte_level_character(uint8_t byte) {
  // Printable bytes of Latin-1 are themselves; the others follow from U+0100 on, in order.
  const auto printable = [](int b) { return (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE; };
  if (printable(byte)) return byte;
  uint32_t character = 0x100;
  for (int b = 0; b < byte; b++) character += !printable(b);
  return character;
}

std::string byte_piece(uint8_t byte) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  return {'<', '0', 'x', kHex[byte >> 4], kHex[byte & 15], '>'};
}

int byte_of(std::string_view piece) {
  if (piece.size() != 6 || piece.substr(0, 3) != "<0x" || piece[5] != '>') return -1;
  int value = 0;
  for (const char c : piece.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

Result<PieceDecoder> PieceDecoder::make(const json::Value& steps, std::string_view source_name) {
  PieceDecoder decoder;
  std::fill(std::begin(decoder.byte_for_), std::end(decoder.byte_for_), int16_t{-1});
  for (int b = 0; b < 256; b++) decoder.byte_for_[byte_level_character(static_cast<uint8_t>(b))] = static_cast<int16_t>(b);
  for (const json::Value value : steps.elements()) {
    const std::string name = value.is_string() ? value.string() : value.get("kind").string();
    Step step{Kind::kByteLevel, value.get("from").string(), value.get("to").string(), value.get("stripsFirst").boolean(),
              value.get("exceptControl").boolean()};
    if (name == "byteLevel") {
      step.kind = Kind::kByteLevel;
    } else if (name == "replace") {
      step.kind = Kind::kReplace;
    } else if (name == "bytes" || name == "typedBytes") {
      step.kind = Kind::kBytes;
      decoder.finds_bytes_ = name == "bytes";
    } else if (name == "metaspace") {
      step.kind = Kind::kMetaspace;
    } else if (name == "wordPiece") {
      step.kind = Kind::kWordPiece;
    } else if (name == "cleanup") {
      step.kind = Kind::kCleanup;
    } else if (name == "stripFirst") {
      step.kind = Kind::kStripFirst;
    } else {
      return error(ErrorCode::kTokenizerUnsupported, {std::string(source_name), "decoder", name});
    }
    const bool needs_text = step.kind == Kind::kReplace || step.kind == Kind::kMetaspace || step.kind == Kind::kWordPiece;
    if ((needs_text && step.from.empty()) || std::max(step.from.size(), step.to.size()) > kMaxReplacement)
      return error(ErrorCode::kTokenizerInvalid, {std::string(source_name), "decoder", name + ": empty or too long"});
    decoder.first_differs_ |= step.strips_first || step.kind == Kind::kWordPiece || step.kind == Kind::kStripFirst;
    decoder.steps_.push_back(std::move(step));
  }
  return decoder;
}

void PieceDecoder::decode(std::string_view piece, TokenKind kind, bool first, std::string& out) const {
  out = piece;
  for (const Step& step : steps_) {
    switch (step.kind) {
      case Kind::kByteLevel: {
        // Added tokens are spelled as they are.
        if (kind == TokenKind::kControl || kind == TokenKind::kUnknown || kind == TokenKind::kUserDefined) break;
        std::string bytes;
        const char *p = out.data(), *end = p + out.size();
        while (p < end) {
          const unicode::Character c = unicode::decode(p, end);
          if (c.code_point >= 0x200 || byte_for_[c.code_point] < 0) break;
          bytes += static_cast<char>(byte_for_[c.code_point]);
          p += c.length;
        }
        if (p == end) out = std::move(bytes);  // else not of the alphabet: taken as it is
        break;
      }
      case Kind::kReplace:
        if (!step.except_control || kind != TokenKind::kControl) replace_all(out, step.from, step.to);
        break;
      case Kind::kBytes:
        if (kind == TokenKind::kByte && byte_of(out) >= 0) out.assign(1, static_cast<char>(byte_of(out)));
        break;
      case Kind::kMetaspace: replace_all(out, step.from, first && step.strips_first ? "" : " "); break;
      case Kind::kWordPiece:
        if (first) break;
        if (out.starts_with(step.from)) {
          out.erase(0, step.from.size());
        } else {
          out.insert(0, 1, ' ');
        }
        break;
      case Kind::kCleanup: clean_up(out); break;
      case Kind::kStripFirst:
        if (first && out.starts_with(' ')) out.erase(0, 1);
        break;
    }
  }
}

}  // namespace infernode
