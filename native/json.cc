// The parser: one pass over the text, no recursion, into a flat list of nodes.
#include "json.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <vector>

#include "tokenizer/unicode.h"

namespace infernode::json {
namespace {

constexpr size_t kMaxText = size_t{512} << 20;  // so that an element count fits 28 bits: an element takes two bytes or more

bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Four hex digits at p, or -1. `left` is the number of bytes there.
int32_t hex4(const char* p, size_t left) {
  if (left < 4) return -1;
  int32_t value = 0;
  for (int i = 0; i < 4; i++) {
    const int digit = hex_value(p[i]);
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

// Length of the well-formed UTF-8 sequence at p (a byte of 0x80 or more), or 0.
size_t utf8_length(const unsigned char* p, size_t left) {
  const auto trails = [&](size_t i) { return i < left && (p[i] & 0xC0) == 0x80; };
  if (p[0] >= 0xC2 && p[0] <= 0xDF) return trails(1) ? 2 : 0;
  if (p[0] >= 0xE0 && p[0] <= 0xEF) {
    if (!trails(1) || !trails(2)) return 0;
    if (p[0] == 0xE0 && p[1] < 0xA0) return 0;   // overlong
    if (p[0] == 0xED && p[1] >= 0xA0) return 0;  // surrogate
    return 3;
  }
  if (p[0] >= 0xF0 && p[0] <= 0xF4) {
    if (!trails(1) || !trails(2) || !trails(3)) return 0;
    if (p[0] == 0xF0 && p[1] < 0x90) return 0;   // overlong
    if (p[0] == 0xF4 && p[1] >= 0x90) return 0;  // past U+10FFFF
    return 4;
  }
  return 0;
}

class Parser {
 public:
  Parser(Tape& tape, const ParseOptions& options) : tape_(tape), options_(options), text_(tape.text) {}

  // A state machine instead of recursion: `open_` holds the containers that are not closed yet.
  Status parse() {
    for (bool expects_value = true;;) {
      skip_space();
      if (expects_value) {
        INFERNODE_TRY(value());
        if (entered_) {  // an empty container ends here; another one expects its first element
          skip_space();
          const bool object = tape_.nodes[open_.back()].kind == static_cast<uint32_t>(Kind::kObject);
          if (peek() == (object ? '}' : ']')) {
            INFERNODE_TRY(close());
          } else {
            if (object) INFERNODE_TRY(key());
            continue;
          }
        }
      }
      // A value has ended.
      skip_space();
      if (open_.empty()) break;
      Node& container = tape_.nodes[open_.back()];
      container.count++;
      const bool object = container.kind == static_cast<uint32_t>(Kind::kObject);
      if (peek() == ',') {
        position_++;
        skip_space();
        if (object) INFERNODE_TRY(key());
        expects_value = true;
      } else if (peek() == (object ? '}' : ']')) {
        INFERNODE_TRY(close());
        expects_value = false;
      } else {
        return fail(object ? "expected , or }" : "expected , or ]");
      }
    }
    if (position_ != text_.size()) return fail("text after the end of the value");
    return trim();
  }

 private:
  int peek() const { return position_ < text_.size() ? static_cast<unsigned char>(text_[position_]) : -1; }
  void skip_space() {
    while (position_ < text_.size() && is_space(text_[position_])) position_++;
  }

  Error fail(std::string reason) const {
    if (position_ >= text_.size()) reason = "the JSON text ends too early";
    return error(ErrorCode::kFileCorrupt, {tape_.source_name, "byte " + std::to_string(position_), std::move(reason)});
  }

  Result<uint32_t> add(Kind kind, size_t offset) {
    if (size_ == tape_.nodes.size()) {
      const size_t capacity = std::max<size_t>(64, size_ + size_ / 2);
      INFERNODE_ASSIGN(grown, Array<Node>::make(capacity, "parsed JSON"));
      if (size_ > 0) std::memcpy(grown.data(), tape_.nodes.data(), size_ * sizeof(Node));
      tape_.nodes = std::move(grown);
    }
    Node& node = tape_.nodes[size_];
    node.offset = static_cast<uint32_t>(offset);
    node.length = static_cast<uint32_t>(position_ - offset);
    node.next = static_cast<uint32_t>(size_ + 1);
    node.kind = static_cast<uint32_t>(kind);
    return static_cast<uint32_t>(size_++);
  }

  Status value() {
    entered_ = false;
    const int c = peek();
    if (c == '"') return string();
    if (c == '{' || c == '[') {
      if (open_.size() >= options_.max_depth) return fail("nested deeper than " + std::to_string(options_.max_depth));
      INFERNODE_ASSIGN(index, add(c == '{' ? Kind::kObject : Kind::kArray, position_));
      open_.push_back(index);
      position_++;
      entered_ = true;
      return {};
    }
    if (c == 't') return literal("true", Kind::kBool);
    if (c == 'f') return literal("false", Kind::kBool);
    if (c == 'n') return literal("null", Kind::kNull);
    return number();
  }

  Status literal(std::string_view word, Kind kind) {
    if (text_.substr(position_, word.size()) != word) return fail("not a JSON value");
    const size_t start = position_;
    position_ += word.size();
    INFERNODE_TRY(add(kind, start));
    return {};
  }

  Status number() {
    const size_t start = position_;
    if (peek() == '-') position_++;
    if (!is_digit(static_cast<char>(peek()))) return fail("not a JSON value");
    if (peek() == '0') {
      position_++;
    } else {
      digits();
    }
    if (peek() == '.') {
      position_++;
      if (!digits()) return fail("a digit must follow the point");
    }
    if (peek() == 'e' || peek() == 'E') {
      position_++;
      if (peek() == '+' || peek() == '-') position_++;
      if (!digits()) return fail("a digit must follow the exponent sign");
    }
    INFERNODE_TRY(add(Kind::kNumber, start));
    return {};
  }

  bool digits() {
    const size_t start = position_;
    while (position_ < text_.size() && is_digit(text_[position_])) position_++;
    return position_ > start;
  }

  Status key() {
    if (peek() != '"') return fail("expected a key");
    INFERNODE_TRY(string());
    skip_space();
    if (peek() != ':') return fail("expected :");
    position_++;
    return {};
  }

  Status string() {
    const size_t start = ++position_;
    bool escaped = false;
    for (;;) {
      if (position_ >= text_.size()) return fail("");
      const unsigned char c = static_cast<unsigned char>(text_[position_]);
      if (c == '"') break;
      if (c == '\\') {
        escaped = true;
        INFERNODE_TRY(escape());
      } else if (c < 0x20) {
        return fail("a control character in a string");
      } else if (c < 0x80) {
        position_++;
      } else {
        const size_t length =
            utf8_length(reinterpret_cast<const unsigned char*>(text_.data()) + position_, text_.size() - position_);
        if (length == 0) return fail("not UTF-8");
        position_ += length;
      }
    }
    INFERNODE_ASSIGN(index, add(Kind::kString, start));
    tape_.nodes[index].escaped = escaped;
    position_++;
    return {};
  }

  // Checks an escape, so that decoding it later cannot fail.
  Status escape() {
    position_++;
    if (peek() != 'u') {
      if (peek() < 0 || std::string_view("\"\\/bfnrt").find(static_cast<char>(peek())) == std::string_view::npos)
        return fail("not an escape");
      position_++;
      return {};
    }
    const int32_t unit = hex4(text_.data() + position_ + 1, text_.size() - position_ - 1);
    if (unit < 0) return fail("four hex digits must follow \\u");
    position_ += 5;
    if (unit < 0xD800 || unit > 0xDFFF) return {};
    int32_t low = -1;
    if (unit <= 0xDBFF && text_.substr(position_, 2) == "\\u")
      low = hex4(text_.data() + position_ + 2, text_.size() - position_ - 2);
    if (low < 0xDC00 || low > 0xDFFF) return fail("half of a surrogate pair");
    position_ += 6;
    return {};
  }

  Status close() {
    const uint32_t index = open_.back();
    open_.pop_back();
    position_++;
    Node& node = tape_.nodes[index];
    node.length = static_cast<uint32_t>(position_ - node.offset);
    node.next = static_cast<uint32_t>(size_);
    if (options_.unique_keys && node.kind == static_cast<uint32_t>(Kind::kObject)) return check_keys(Value(&tape_, index));
    return {};
  }

  Status check_keys(const Value& object) const {
    std::vector<std::string> keys;
    for (auto [key, value] : object.members()) keys.push_back(key.string());
    std::sort(keys.begin(), keys.end());
    const auto twice = std::adjacent_find(keys.begin(), keys.end());
    if (twice != keys.end()) return object.corrupt("the key \"" + *twice + "\" appears twice");
    return {};
  }

  // Gives back what growing by halves left over, if that is much.
  Status trim() {
    if (tape_.nodes.size() - size_ < size_ / 8) return {};
    INFERNODE_ASSIGN(exact, Array<Node>::make(size_, "parsed JSON"));
    std::memcpy(exact.data(), tape_.nodes.data(), size_ * sizeof(Node));
    tape_.nodes = std::move(exact);
    return {};
  }

  Tape& tape_;
  const ParseOptions& options_;
  std::string_view text_;
  size_t position_ = 0;
  size_t size_ = 0;
  bool entered_ = false;
  std::vector<uint32_t> open_;
};

// The escapes were checked when the text was parsed.
void append_decoded(std::string& out, std::string_view raw) {
  for (size_t i = 0; i < raw.size();) {
    if (raw[i] != '\\') {
      const size_t end = std::min(raw.find('\\', i), raw.size());
      out.append(raw, i, end - i);
      i = end;
      continue;
    }
    const char c = raw[i + 1];
    i += 2;
    switch (c) {
      case 'b': out += '\b'; break;
      case 'f': out += '\f'; break;
      case 'n': out += '\n'; break;
      case 'r': out += '\r'; break;
      case 't': out += '\t'; break;
      case 'u': {
        uint32_t unit = static_cast<uint32_t>(hex4(raw.data() + i, raw.size() - i));
        i += 4;
        if (unit >= 0xD800 && unit <= 0xDBFF) {
          const uint32_t low = static_cast<uint32_t>(hex4(raw.data() + i + 2, raw.size() - i - 2));
          unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
          i += 6;
        }
        unicode::append(out, unit);
        break;
      }
      default: out += c;
    }
  }
}

}  // namespace

Result<Document> Document::parse(std::string_view text, std::string_view source_name, const ParseOptions& options) {
  if (text.size() > kMaxText)
    return error(ErrorCode::kFormatUnsupported, {std::string(source_name), "JSON text", "larger than 512 MiB"});
  Document document;
  document.tape_ = std::make_unique<Tape>();
  document.tape_->text = text;
  document.tape_->source_name = source_name;
  INFERNODE_TRY(Parser(*document.tape_, options).parse());
  return document;
}

Value Value::at(size_t i) const {
  if (!is_array() || i >= node().count) return {};
  uint32_t child = index_ + 1;
  if (node().next - child == node().count) return Value(tape_, child + static_cast<uint32_t>(i));
  for (; i > 0; i--) child = tape_->nodes[child].next;
  return Value(tape_, child);
}

Value Value::get(std::string_view key) const {
  std::string storage;
  for (auto [name, value] : members())
    if (name.view(storage) == key) return value;
  return {};
}

std::string Value::string() const {
  std::string storage;
  const std::string_view found = view(storage);
  return storage.empty() ? std::string(found) : storage;
}

std::string_view Value::view(std::string& storage) const {
  storage.clear();
  if (!is_string()) return {};
  if (!node().escaped) return raw();
  append_decoded(storage, raw());
  return storage;
}

double Value::number() const {
  if (!is_number()) return 0;
  double value = 0;
  const std::string_view digits = raw();
  const auto end = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (end.ec != std::errc::result_out_of_range) return value;
  // Too large is infinite, too small is zero, as JavaScript reads them.
  return std::strtod(std::string(digits).c_str(), nullptr);
}

Result<int64_t> Value::integer() const {
  if (!is_number()) return corrupt("expected an integer");
  const std::string_view digits = raw();
  int64_t exact = 0;
  const auto end = std::from_chars(digits.data(), digits.data() + digits.size(), exact);
  if (end.ec == std::errc() && end.ptr == digits.data() + digits.size()) return exact;
  const double value = number();
  constexpr double kExact = 9007199254740992.0;  // 2^53
  if (!(value >= -kExact && value <= kExact) || value != static_cast<double>(static_cast<int64_t>(value)))
    return corrupt("expected an integer");
  return static_cast<int64_t>(value);
}

Error Value::corrupt(std::string reason) const {
  if (missing()) return error(ErrorCode::kFileCorrupt, {"JSON", "a missing value", std::move(reason)});
  return error(ErrorCode::kFileCorrupt, {tape_->source_name, "byte " + std::to_string(node().offset), std::move(reason)});
}

void append_quoted(std::string& out, std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += "\\u00";
      out += kHex[c >> 4];
      out += kHex[c & 15];
    } else {
      out += c;
    }
  }
  out += '"';
}

}  // namespace infernode::json
