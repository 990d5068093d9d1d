// What fuzz targets share: input that is cut into parts, files in memory, and checks that end the process.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "detokenizer.h"
#include "json.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/unicode.h"

namespace infernode::fuzz {

#define FUZZ_CHECK(condition)                                              \
  do {                                                                     \
    if (!(condition)) {                                                    \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                        \
    }                                                                      \
  } while (0)

// The names of test/fixtures/tokenizers/made: one of each kind. Targets run in the project's root.
inline constexpr const char* kKinds[] = {"gpt2", "llama3", "qwen2", "gpt-4o", "tekken", "deepseek-v3", "smollm",
                                         "llama2-bpe-fallback", "gemma-bpe-fallback", "wordpiece-cased", "wordpiece-uncased",
                                         "unigram-t5", "unigram-bytes"};

// Takes from the front; where nothing is left, zeros and empty texts.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}
  uint8_t byte() {
    if (rest_.empty()) return 0;
    const uint8_t first = static_cast<uint8_t>(rest_[0]);
    rest_.remove_prefix(1);
    return first;
  }
  // Up to the next 0xFF, which is no part of UTF-8.
  std::string_view until_ff() {
    const size_t at = std::min(rest_.find('\xFF'), rest_.size());
    const std::string_view part = rest_.substr(0, at);
    rest_.remove_prefix(std::min(at + 1, rest_.size()));
    return part;
  }
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

inline std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// A file with these bytes, without a disk.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes) : descriptor_(memfd_create("fuzz", 0)) {
    FUZZ_CHECK(write(descriptor_, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  }
  ~MemoryFile() { close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

// The description of a kind, with another file.
inline std::string description_of(const std::string& kind, const std::string& file) {
  std::string text = read_file("test/fixtures/tokenizers/made/" + kind + "/description.json");
  const std::string named = "\"file\": \"tokenizer.json\"";
  const size_t at = text.find(named);
  FUZZ_CHECK(at != std::string::npos);
  return text.replace(at, named.size(), "\"file\": \"" + file + "\"");
}

inline std::shared_ptr<const Tokenizer> make(std::string_view description) {
  auto document = json::Document::parse(description, "description");
  if (!document) return nullptr;
  auto made = Tokenizer::make(document->root(), "description");
  return made ? *made : nullptr;
}

inline size_t units_of(std::string_view text) {
  size_t units = 0;
  for (const char *p = text.data(), *end = p + text.size(); p < end;) {
    const unicode::Character c = unicode::decode(p, end);
    units += c.code_point > 0xFFFF ? 2 : 1;
    p += c.length;
  }
  return units;
}

// Encodes and decodes, and checks what must hold for every tokenizer and every text.
inline void check_encoding(const std::shared_ptr<const Tokenizer>& tokenizer, std::string_view text, const EncodeOptions& options) {
  Encoding encoding;
  const size_t units = units_of(text);
  if (!tokenizer->encode(text, options, encoding)) return;
  FUZZ_CHECK(encoding.offsets.size() == (options.offsets ? 2 * encoding.ids.size() : 0));
  for (size_t i = 0; i + 1 < encoding.offsets.size(); i += 2)
    FUZZ_CHECK(encoding.offsets[i] <= encoding.offsets[i + 1] && encoding.offsets[i + 1] <= units);
  for (const int32_t id : encoding.ids) FUZZ_CHECK(tokenizer->has(id));
  auto decoded = tokenizer->decode(encoding.ids, true);
  FUZZ_CHECK(decoded);
  Detokenizer detokenizer(tokenizer);
  std::string streamed;
  for (const int32_t id : encoding.ids) detokenizer.push(id, streamed);
  detokenizer.finish(streamed);
  FUZZ_CHECK(streamed == *decoded);
}

}  // namespace infernode::fuzz
