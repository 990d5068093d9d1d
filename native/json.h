// Reads JSON that may be hostile: plans, tokenizer.json, descriptions. Strict RFC 8259, bounded depth, memory in proportion to
// the text.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "array.h"
#include "result.h"

namespace infernode::json {

enum class Kind : uint8_t { kNull, kBool, kNumber, kString, kArray, kObject };

struct ParseOptions {
  size_t max_depth = 64;
  // A key that appears twice in one object is an error. Without it the first one is found: enough for files of others, where
  // a lookup must not depend on how a vocabulary of 500,000 keys was hashed; our own plans and descriptions ask for the error.
  bool unique_keys = false;
};

// One value of the text, in the order of the text. A container is followed by what it contains: elements, or key and value in
// turn.
struct Node {
  uint32_t offset;  // of the first byte; of a string, of the byte after its quote
  uint32_t length;  // in bytes; of a string, without its quotes
  uint32_t next;    // index of the node after this one and all it contains
  uint32_t kind : 3;
  uint32_t escaped : 1;  // a string with a backslash in it
  uint32_t count : 28;   // elements or members
};

struct Tape {
  Array<Node> nodes;
  std::string_view text;
  std::string source_name;
};

class Elements;
class Members;

// A handle, cheap to copy, valid as long as its Document (which may be moved) and the text. Asking a value for what it is not
// gives the empty answer (missing, "", 0, false), so chains like root.get("model").get("vocab").size() are safe.
class Value {
 public:
  Value() = default;
  Value(const Tape* tape, uint32_t index) : tape_(tape), index_(index) {}

  // What get() and at() return for nothing; its kind is null.
  bool missing() const { return tape_ == nullptr; }
  Kind kind() const { return missing() ? Kind::kNull : static_cast<Kind>(node().kind); }
  bool is_null() const { return kind() == Kind::kNull; }
  bool is_bool() const { return kind() == Kind::kBool; }
  bool is_number() const { return kind() == Kind::kNumber; }
  bool is_string() const { return kind() == Kind::kString; }
  bool is_array() const { return kind() == Kind::kArray; }
  bool is_object() const { return kind() == Kind::kObject; }

  size_t size() const { return is_array() || is_object() ? node().count : 0; }
  // Constant time if the array holds no containers, else linear in `i`: iterate instead.
  Value at(size_t i) const;
  // Linear in the number of members.
  Value get(std::string_view key) const;
  Elements elements() const;
  Members members() const;

  std::string string() const;
  // The string without copying it, unless it has escapes: then `storage` holds it.
  std::string_view view(std::string& storage) const;
  // The text as written; of a string without its quotes, escapes undecoded.
  std::string_view raw() const { return missing() ? std::string_view() : tape_->text.substr(node().offset, node().length); }
  double number() const;
  // A number without a fraction, which may be written 1e3 or 2.0 up to 2^53; else FILE_CORRUPT naming the place.
  Result<int64_t> integer() const;
  bool boolean() const { return is_bool() && raw() == "true"; }

  // FILE_CORRUPT at this value, for readers that expected something else here.
  Error corrupt(std::string reason) const;

 private:
  friend class Elements;
  friend class Members;
  const Node& node() const { return tape_->nodes[index_]; }

  const Tape* tape_ = nullptr;
  uint32_t index_ = 0;
};

// for (Value element : array.elements())
class Elements {
 public:
  class Iterator {
   public:
    Iterator(const Tape* tape, uint32_t index) : tape_(tape), index_(index) {}
    Value operator*() const { return Value(tape_, index_); }
    Iterator& operator++() {
      index_ = tape_->nodes[index_].next;
      return *this;
    }
    bool operator!=(const Iterator& other) const { return index_ != other.index_; }

   private:
    const Tape* tape_;
    uint32_t index_;
  };
  explicit Elements(const Value& array)
      : tape_(array.is_array() ? array.tape_ : nullptr),
        first_(tape_ ? array.index_ + 1 : 0),
        last_(tape_ ? array.node().next : 0) {}
  Iterator begin() const { return {tape_, first_}; }
  Iterator end() const { return {tape_, last_}; }

 private:
  const Tape* tape_;
  uint32_t first_, last_;
};

struct Member {
  Value key, value;
};

// for (auto [key, value] : object.members())
class Members {
 public:
  class Iterator {
   public:
    Iterator(const Tape* tape, uint32_t index) : tape_(tape), index_(index) {}
    Member operator*() const { return {Value(tape_, index_), Value(tape_, index_ + 1)}; }
    Iterator& operator++() {
      index_ = tape_->nodes[index_ + 1].next;
      return *this;
    }
    bool operator!=(const Iterator& other) const { return index_ != other.index_; }

   private:
    const Tape* tape_;
    uint32_t index_;
  };
  explicit Members(const Value& object)
      : tape_(object.is_object() ? object.tape_ : nullptr),
        first_(tape_ ? object.index_ + 1 : 0),
        last_(tape_ ? object.node().next : 0) {}
  Iterator begin() const { return {tape_, first_}; }
  Iterator end() const { return {tape_, last_}; }

 private:
  const Tape* tape_;
  uint32_t first_, last_;
};

inline Elements Value::elements() const { return Elements(*this); }
inline Members Value::members() const { return Members(*this); }

class Document {
 public:
  // `text` is not copied and must outlive the document and its values; at most 512 MiB. Errors name `source_name` and the byte.
  static Result<Document> parse(std::string_view text, std::string_view source_name, const ParseOptions& options = {});
  Value root() const { return Value(tape_.get(), 0); }

 private:
  std::unique_ptr<Tape> tape_;  // on the heap, so that values survive a move of the document
};

// Adds `text` to `out` as a JSON string with its quotes. `text` is UTF-8.
void append_quoted(std::string& out, std::string_view text);

}  // namespace infernode::json
