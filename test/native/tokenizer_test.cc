// Tokenizers against what their reference implementations gave, hostile files, and the streaming detokenizer.
//
// Folders: $INFERNODE_TOKENIZERS (default test/fixtures/tokenizers) has small tokenizers with cases; $INFERNODE_VOCABULARIES
// (default ../shared/tokenizers) has real vocabularies, which are not part of the project.
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>

#include "detokenizer.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/unicode.h"

using namespace infernode;

namespace {

std::string folder(const char* variable, const char* fallback) {
  const char* given = std::getenv(variable);
  return given ? given : fallback;
}

std::string made_folder() { return folder("INFERNODE_TOKENIZERS", "test/fixtures/tokenizers") + "/made/"; }
std::string gguf_descriptions() { return folder("INFERNODE_TOKENIZERS", "test/fixtures/tokenizers") + "/gguf/"; }
std::string vocabularies() { return folder("INFERNODE_VOCABULARIES", "../shared/tokenizers") + "/"; }

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// The description, with its file in `where` instead.
std::string description_of(const std::string& path, const std::string& where) {
  std::string text = read_text(path);
  const size_t at = text.find("\"file\": \"");
  REQUIRE(at != std::string::npos);
  return text.insert(at + 9, where);
}

Result<std::shared_ptr<const Tokenizer>> make(const std::string& description) {
  auto document = json::Document::parse(description, "description", {.unique_keys = true});
  REQUIRE(document);
  return Tokenizer::make(document->root(), "description");
}

std::vector<int32_t> ids_of(const json::Value& array) {
  std::vector<int32_t> ids;
  for (const json::Value id : array.elements()) ids.push_back(static_cast<int32_t>(*id.integer()));
  return ids;
}

Encoding encode(const Tokenizer& tokenizer, std::string_view text, const EncodeOptions& options) {
  Encoding encoding;
  REQUIRE(tokenizer.encode(text, options, encoding));
  return encoding;
}

// Offsets in UTF-16 code units become code points, as the cases count.
std::vector<int32_t> in_code_points(const std::string& text, const std::vector<uint32_t>& offsets) {
  std::vector<int32_t> point_at{0};
  int32_t points = 0;
  for (const char *p = text.data(), *end = p + text.size(); p < end;) {
    const unicode::Character c = unicode::decode(p, end);
    if (c.code_point > 0xFFFF) point_at.push_back(-1);
    point_at.push_back(++points);
    p += c.length;
  }
  std::vector<int32_t> result;
  for (const uint32_t offset : offsets) result.push_back(point_at.at(offset));
  return result;
}

std::string streamed(const std::shared_ptr<const Tokenizer>& tokenizer, const std::vector<int32_t>& ids, bool show_special) {
  Detokenizer detokenizer(tokenizer, {.show_special = show_special});
  std::string all;
  for (const int32_t id : ids) {
    std::string text, storage;
    detokenizer.push(id, text);
    CHECK(unicode::well_formed(text, storage).data() == text.data());
    all += text;
  }
  detokenizer.finish(all);
  return all;
}

}  // namespace

TEST_CASE("tokenizer cases: small tokenizers of every byte-level kind give the reference's ids, offsets and texts") {
  for (const char* name : {"gpt2", "llama3", "qwen2", "gpt-4o", "tekken", "deepseek-v3", "smollm"}) {
    CAPTURE(name);
    const std::string where = made_folder() + name + "/";
    auto made = make(description_of(where + "description.json", where));
    REQUIRE(made);
    const Tokenizer& tokenizer = **made;
    const std::string cases_text = read_text(where + "cases.json");
    auto cases = json::Document::parse(cases_text, "cases.json");
    REQUIRE(cases);
    CHECK(cases->root().get("cases").size() > 40);
    for (const json::Value one : cases->root().get("cases").elements()) {
      const std::string text = one.get("text").string();
      CAPTURE(text);
      const Encoding plain = encode(tokenizer, text, {.add_special = false, .parse_special = false, .offsets = true});
      CHECK(plain.ids == ids_of(one.get("ids")));
      std::vector<int32_t> offsets;
      for (const json::Value pair : one.get("offsets").elements())
        for (const json::Value offset : pair.elements()) offsets.push_back(static_cast<int32_t>(*offset.integer()));
      CHECK(in_code_points(text, plain.offsets) == offsets);
      CHECK(encode(tokenizer, text, {.add_special = false, .parse_special = true}).ids == ids_of(one.get("ids_parsing_specials")));
      CHECK(encode(tokenizer, text, {.add_special = true, .parse_special = true}).ids == ids_of(one.get("ids_with_added")));
      CHECK(*tokenizer.decode(plain.ids, false) == one.get("decoded").string());
      CHECK(streamed(*made, plain.ids, true) == one.get("decoded").string());
    }
  }
}

TEST_CASE("tokenizer cases: real GGUF vocabularies give the reference's ids") {
  for (const char* name : {"gpt-2", "starcoder", "refact", "mpt", "falcon", "deepseek-coder", "deepseek-llm", "llama-spm", "phi-3"}) {
    CAPTURE(name);
    if (!std::filesystem::exists(vocabularies() + name + ".gguf")) {
      std::cerr << "skipped: there is no " << vocabularies() << name << ".gguf\n";
      continue;
    }
    auto made = make(description_of(gguf_descriptions() + name + ".json", vocabularies()));
    REQUIRE(made);
    std::string texts = read_text(vocabularies() + name + ".gguf.inp");
    std::ifstream expected(vocabularies() + name + ".gguf.out");
    const std::string separator = "\n__ggml_vocab_test__\n";
    for (std::string line; std::getline(expected, line);) {
      const size_t end = texts.find(separator);
      const std::string text = texts.substr(0, end);
      texts = end == std::string::npos ? "" : texts.substr(end + separator.size());
      std::vector<int32_t> ids;
      for (const char* p = line.c_str(); *p != 0;) {
        char* next;
        const long id = std::strtol(p, &next, 10);
        if (next == p) break;
        ids.push_back(static_cast<int32_t>(id));
        p = next;
      }
      CAPTURE(text);
      const Encoding encoding = encode(**made, text, {.add_special = false, .parse_special = false, .offsets = true});
      CHECK(encoding.ids == ids);
      CHECK(encoding.offsets.size() == 2 * encoding.ids.size());
      CHECK(streamed(*made, encoding.ids, true) == *(*made)->decode(encoding.ids, false));
      CHECK(*(*made)->decode(encoding.ids, false) == text);
    }
  }
}
