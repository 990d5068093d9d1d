// The rules of the WHATWG decoder: each maximal part of a broken sequence becomes one U+FFFD.
#include "detokenizer.h"

#include "tokenizer/unicode.h"

namespace infernode {
namespace {

constexpr char kReplacement[] = "\xEF\xBF\xBD";

// True if more bytes could still make the bytes from `p` to `end` a character.
bool is_unfinished(const char* p, const char* end) {
  const unicode::Character c = unicode::decode(p, end);
  if (c.code_point != 0xFFFD || c.length != static_cast<uint32_t>(end - p)) return false;
  const unsigned char lead = static_cast<unsigned char>(*p);
  const size_t whole = lead >= 0xC2 && lead <= 0xDF   ? 2
                       : lead >= 0xE0 && lead <= 0xEF ? 3
                       : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                      : 0;
  return static_cast<size_t>(end - p) < whole;
}

}  // namespace

void Detokenizer::continue_after(const std::vector<int32_t>& ids) {
  std::string text;
  // Three bytes can be unfinished; tokens without bytes do not count.
  size_t first = ids.size(), bytes = 0;
  while (first > 0 && bytes < 8) {
    first--;
    if (!tokenizer_->is_special(ids[first])) bytes += tokenizer_->token_bytes(ids[first]).size();
  }
  if (bytes > 0) at_start_ = false;
  for (; first < ids.size(); first++) push(ids[first], text);
}

void Detokenizer::push(int32_t id, std::string& text) {
  if (!options_.show_special && tokenizer_->is_special(id)) return;
  std::string_view bytes = tokenizer_->token_bytes(id);
  if (bytes.empty()) return;
  if (at_start_) bytes = tokenizer_->first_bytes(id);
  at_start_ = false;
  pending_ += bytes;
  release(text);
}

void Detokenizer::release(std::string& text) {
  const char *p = pending_.data(), *end = p + pending_.size();
  while (p < end && !is_unfinished(p, end)) {
    const unicode::Character c = unicode::decode(p, end);
    if (c.code_point == 0xFFFD) {
      text += kReplacement;
    } else {
      text.append(p, c.length);
    }
    p += c.length;
  }
  pending_.erase(0, static_cast<size_t>(p - pending_.data()));
}

void Detokenizer::finish(std::string& text) {
  if (!pending_.empty()) text += kReplacement;
  pending_.clear();
}

}  // namespace infernode
