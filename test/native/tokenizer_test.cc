// Tokenizers against what their reference implementations gave, hostile files, and the streaming detokenizer.
//
// Run in the project's root: test/fixtures/tokenizers has small tokenizers with cases. $INFERNODE_TOKENIZERS (default
// ../shared/tokenizers) has real vocabularies, which are not part of the project.
#include <doctest/doctest.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>

#include "detokenizer.h"
#include "tokenizer/charsmap.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/unicode.h"

using namespace infernode;

namespace {

std::string folder(const char* variable, const char* fallback) {
  const char* given = std::getenv(variable);
  return given ? given : fallback;
}

std::string made_folder() { return "test/fixtures/tokenizers/made/"; }
std::string gguf_descriptions() { return "test/fixtures/tokenizers/gguf/"; }
std::string vocabularies() { return folder("INFERNODE_TOKENIZERS", "../shared/tokenizers") + "/"; }

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

TEST_CASE("tokenizer cases: small tokenizers of every kind give the reference's ids, offsets, texts and pairs") {
  for (const char* name :
       {"gpt2", "llama3", "qwen2", "gpt-4o", "tekken", "deepseek-v3", "smollm", "llama2-bpe-fallback", "gemma-bpe-fallback",
        "wordpiece-cased", "wordpiece-uncased", "unigram-t5", "unigram-bytes"}) {
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
      CHECK(encode(tokenizer, text, {.add_special = false, .parse_special = true}).ids ==
            ids_of(one.get("ids_parsing_specials")));
      CHECK(encode(tokenizer, text, {.add_special = true, .parse_special = true}).ids == ids_of(one.get("ids_with_added")));
      CHECK(*tokenizer.decode(plain.ids, false) == one.get("decoded").string());
      CHECK(streamed(*made, plain.ids, true) == one.get("decoded").string());
    }
    const json::Value pair = cases->root().get("pair");
    Encoding both;
    REQUIRE(tokenizer.encode_pair(pair.get("a").string(), pair.get("b").string(), {.offsets = true, .type_ids = true}, both));
    CHECK(both.ids == ids_of(pair.get("ids")));
    CHECK(std::vector<int32_t>(both.type_ids.begin(), both.type_ids.end()) == ids_of(pair.get("type_ids")));
    CHECK(both.offsets.size() == 2 * both.ids.size());
  }
}

TEST_CASE("tokenizer cases: real GGUF vocabularies give the reference's ids") {
  for (const char* name :
       {"gpt-2", "starcoder", "refact", "mpt", "falcon", "deepseek-coder", "deepseek-llm", "llama-spm", "phi-3", "bert-bge"}) {
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
      // WordPiece does not know how words were spaced, or spelled.
      if (std::string_view(name) != "bert-bge") CHECK(*(*made)->decode(encoding.ids, false) == text);
    }
  }
}

// Hostile and unusual files

namespace {

// A folder for files that the tests write.
struct Scratch {
  std::string path = std::filesystem::temp_directory_path() / ("infernode-tokenizer-" + std::to_string(std::rand()));
  Scratch() { std::filesystem::create_directories(path); }
  ~Scratch() { std::filesystem::remove_all(path); }
  std::string write(const std::string& name, const std::string& content) const {
    std::ofstream(path + "/" + name, std::ios::binary) << content;
    return path + "/" + name;
  }
};

constexpr const char* kBpe =
    R"("decoder": ["byteLevel"], "model": {"kind": "bpe", "byteLevel": true, "addSpacePrefix": false, "unknown": null})";
constexpr const char* kMarks =
    R"("decoder": ["typedBytes", {"kind": "replace", "from": "▁", "to": " ", "exceptControl": true}, "stripFirst"])";
const std::string kSpm = std::string(kMarks) + R"(, "model": {"kind": "spm", "addSpacePrefix": true, "unknown": 0})";

// A tokenizer.json with these parts; the description takes more members from `more`.
Result<std::shared_ptr<const Tokenizer>> from_json(const Scratch& scratch, const std::string& vocab, const std::string& merges,
                                                   const std::string& added = "[]", const std::string& more = "") {
  const std::string file = scratch.write(
      "tokenizer.json", "{\"added_tokens\": " + added + ", \"model\": {\"vocab\": " + vocab + ", \"merges\": " + merges + "}}");
  return make("{\"vocab\": {\"from\": \"tokenizer.json\", \"file\": \"" + file + "\"}, " + kBpe + more + "}");
}

std::string u64(uint64_t value) { return {reinterpret_cast<const char*>(&value), 8}; }

struct GgufPart {
  std::string bytes;
  uint64_t count = 0;
  GgufPart& add(const std::string& text) {
    bytes += u64(text.size()) + text;
    count++;
    return *this;
  }
  template <class T>
  GgufPart& number(T value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
    count++;
    return *this;
  }
};

struct GgufFile {
  GgufPart tokens, scores, types, merges;
};

Result<std::shared_ptr<const Tokenizer>> from_gguf(const Scratch& scratch, const GgufFile& parts, const std::string& model,
                                                   const std::string& more = "") {
  std::string bytes = "head", fields;
  const auto place = [&](const char* name, const GgufPart& part) {
    if (part.count == 0 && part.bytes.empty()) {
      fields += std::string(", \"") + name + "\": null";
      return;
    }
    fields += std::string(", \"") + name + "\": {\"offset\": " + std::to_string(bytes.size()) +
              ", \"bytes\": " + std::to_string(part.bytes.size()) + ", \"count\": " + std::to_string(part.count) + "}";
    bytes += part.bytes;
  };
  place("tokens", parts.tokens);
  place("scores", parts.scores);
  place("types", parts.types);
  place("merges", parts.merges);
  const std::string file = scratch.write("vocabulary.gguf", bytes);
  return make("{\"vocab\": {\"from\": \"gguf\", \"file\": \"" + file + "\"" + fields + ", \"control\": []}, " + model + more +
              "}");
}

// <unk>, <s>, the 256 bytes, then these pieces with these scores.
GgufFile spm_file(const std::vector<std::pair<std::string, float>>& pieces, int32_t kind = 1) {
  GgufFile file;
  const auto add = [&](const std::string& piece, float score, int32_t type) {
    file.tokens.add(piece);
    file.scores.number(score);
    file.types.number(type);
  };
  add("<unk>", 0, 2);
  add("<s>", 0, 3);
  for (int b = 0; b < 256; b++) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", b);
    add(name, 0, 6);
  }
  for (const auto& [piece, score] : pieces) add(piece, score, kind);
  return file;
}

template <class T>
ErrorCode code_of(const Result<T>& result) {
  REQUIRE_FALSE(static_cast<bool>(result));
  return result.error().code;
}

std::vector<int32_t> plain_ids(const Tokenizer& tokenizer, std::string_view text) {
  return encode(tokenizer, text, {.add_special = false}).ids;
}

}  // namespace

TEST_CASE("tokenizer.json files that do not hold together are refused") {
  const Scratch scratch;
  CHECK(from_json(scratch, R"({"a": 0, "b": 1, "ab": 2})", R"([["a", "b"]])"));
  CHECK(from_json(scratch, R"({"a": 0, "b": 1, "ab": 2})", R"(["a b"])"));
  const auto refused = [&](const char* vocab, const char* merges, const char* added = "[]", const std::string& more = "") {
    CAPTURE(vocab);
    CAPTURE(merges);
    CAPTURE(added);
    CHECK(code_of(from_json(scratch, vocab, merges, added, more)) == ErrorCode::kTokenizerInvalid);
  };
  refused("{}", "[]");
  refused("[]", "[]");
  refused("null", "[]");
  refused(R"({"a": 0, "b": 1})", R"([["a", "b"]])");
  refused(R"({"a": 0, "ab": 2})", R"([["a", "b"]])");
  refused(R"({"a": 0, "b": 1, "ab": 2})", R"([["a", "b", "c"]])");
  refused(R"({"a": 0, "b": 1, "ab": 2})", R"([["a", 1]])");
  refused(R"({"a": 0, "b": 1, "ab": 2})", R"(["ab"])");
  refused(R"({"a": 0, "b": 0})", "[]");
  refused(R"({"a": 0, "a": 1})", "[]");
  refused(R"({"a": -1})", "[]");
  refused(R"({"a": 2147483647})", "[]");
  refused(R"({"a": 9007199254740991})", "[]");
  refused(R"({"a": 0})", "[]", R"([{"id": 0, "content": "b"}])");
  refused(R"({"a": 0})", "[]", R"([{"id": 1, "content": "a"}])");
  refused(R"({"a": 0})", "[]", R"([{"id": 1}])");
  refused(R"({"a": 0})", "[]", R"([{"id": 900000000, "content": "b"}])");
  refused(R"({"a": 0})", "[]", "[]", R"(, "single": [{"id": 1}])");
  refused(R"({"a": 0})", "[]", "[]", R"(, "single": [{"id": null}])");
  CHECK(code_of(from_json(scratch, R"({"a": "0"})", "[]")) == ErrorCode::kFileCorrupt);
  CHECK(code_of(from_json(scratch, R"({"a": 0.5})", "[]")) == ErrorCode::kFileCorrupt);
  refused(R"({"a": 0})", "[]", "[]", R"(, "single": [{"id": "b"}])");
  CHECK(code_of(from_json(scratch, R"({"a": 0})", "[]", "[]", R"(, "single": [{"id": true}])")) == ErrorCode::kFileCorrupt);
  CHECK(code_of(from_json(scratch, R"({"a": 0)", "[]")) == ErrorCode::kFileCorrupt);
  CHECK(code_of(from_json(scratch, R"({"a": 0})", "[]", "[]", R"(, "preTokenizer": ["gpt3"])")) ==
        ErrorCode::kTokenizerUnsupported);
  CHECK(code_of(from_json(scratch, R"({"a": 0})", "[]", "[]", R"(, "normalizer": ["nmt"])")) ==
        ErrorCode::kTokenizerUnsupported);
}

TEST_CASE("GGUF vocabularies that do not hold together are refused") {
  const Scratch scratch;
  GgufFile good;
  good.tokens.add("a").add("b").add("ab");
  good.types.number(1).number(1).number(1);
  good.merges.add("a b");
  CHECK(from_gguf(scratch, good, kBpe));
  const auto refused = [&](const GgufFile& file, const std::string& model = kBpe) {
    const ErrorCode code = code_of(from_gguf(scratch, file, model));
    CHECK((code == ErrorCode::kTokenizerInvalid || code == ErrorCode::kFileCorrupt));
  };
  GgufFile bad = good;
  bad.tokens.bytes.resize(bad.tokens.bytes.size() - 1);
  refused(bad);
  bad = good;
  bad.tokens.count = 1000000000;
  refused(bad);
  bad = good;
  bad.tokens.count = 0;
  refused(bad);
  bad = good;
  bad.tokens.count = 4;
  refused(bad);
  bad = good;
  bad.tokens.bytes.replace(0, 8, u64(UINT64_MAX));
  refused(bad);
  bad = good;
  bad.tokens.bytes.replace(0, 8, u64(1000));
  refused(bad);
  bad = good;
  bad.tokens.add("a");
  bad.types.number(1);
  refused(bad);
  bad = good;
  bad.types.number(1);
  refused(bad);
  bad = good;
  bad.types.bytes[0] = 7;
  refused(bad);
  bad = good;
  bad.types.bytes[3] = '\x80';
  refused(bad);
  bad = good;
  bad.merges.add("b a");
  refused(bad);
  bad = good;
  bad.merges.add("ab");
  refused(bad);
  bad = good;
  bad.merges.add("");
  refused(bad);
  bad = good;
  bad.merges.count = 7;
  refused(bad);
  CHECK(code_of(make(R"({"vocab": {"from": "gguf", "file": ")" + scratch.path +
                     R"(/vocabulary.gguf", "tokens": {"offset": 4, "bytes": 99999999, "count": 3}}, )" + kBpe + "}")) ==
        ErrorCode::kFileCorrupt);
  CHECK(code_of(make(R"({"vocab": {"from": "gguf", "file": ")" + scratch.path +
                     R"(/vocabulary.gguf", "tokens": {"offset": -4, "bytes": 99, "count": 3}}, )" + kBpe + "}")) ==
        ErrorCode::kFileCorrupt);
  // SentencePiece: bytes must be there, or an unknown token; scores must be numbers.
  GgufFile spm = spm_file({{"a", -1}});
  CHECK(from_gguf(scratch, spm, kSpm));
  bad = spm;
  bad.scores.bytes.replace(0, 4, "\xFF\xFF\xFF\x7F");
  refused(bad, kSpm);
  bad = GgufFile{};
  bad.tokens.add("a");
  refused(bad, R"("model": {"kind": "spm", "addSpacePrefix": true, "unknown": null})");
}

TEST_CASE("empty pieces and holes are allowed, and stand for nothing") {
  const Scratch scratch;
  const auto made = from_json(scratch, R"({"a": 0, "": 3, "b": 5})", "[]");
  REQUIRE(made);
  CHECK((*made)->vocab_size() == 6);
  CHECK((*made)->find("") == -1);
  CHECK((*made)->find("b") == 5);
  CHECK(*(*made)->decode({0, 1, 3, 5}, false) == "ab");
  CHECK(code_of((*made)->decode({6}, false)) == ErrorCode::kTokenUnknown);
  CHECK(code_of((*made)->decode({-1}, false)) == ErrorCode::kTokenUnknown);
  // Bytes without a piece are left out, as the reference does without an unknown token.
  CHECK(plain_ids(**made, "acb") == std::vector<int32_t>{0, 5});
}

TEST_CASE("text never merges into a control token, however it is spelled") {
  const Scratch scratch;
  const auto bpe = from_json(scratch, R"({"<": 0, "s": 1, ">": 2, "<s": 3, "<s>": 4})", R"(["< s", "<s >"])",
                             R"([{"id": 4, "content": "<s>", "special": true}])");
  REQUIRE(bpe);
  CHECK(plain_ids(**bpe, "<s>") == std::vector<int32_t>{3, 2});
  CHECK(encode(**bpe, "<s>", {.add_special = false, .parse_special = true}).ids == std::vector<int32_t>{4});
  const auto whole = make("{\"vocab\": {\"from\": \"tokenizer.json\", \"file\": \"" + scratch.path +
                          R"(/tokenizer.json"}, "model": {"kind": "bpe", "byteLevel": true, "ignoreMerges": true}})");
  REQUIRE(whole);
  CHECK(plain_ids(**whole, "<s>") == std::vector<int32_t>{3, 2});
  const auto spm = from_gguf(scratch, spm_file({{"<", -1}, {"s", -1}, {">", -1}, {"s>", -2}, {"<0", -2}}), kSpm);
  REQUIRE(spm);
  CHECK(plain_ids(**spm, "<s>").back() == 258 + 3);
  CHECK(plain_ids(**spm, "<unk>").size() > 1);
  CHECK(plain_ids(**spm, "<0x41>").size() > 1);
  CHECK(encode(**spm, "<s>", {.add_special = false, .parse_special = true}).ids == std::vector<int32_t>{1});
}

TEST_CASE("added tokens: the leftmost and longest wins, and their flags are honoured") {
  const Scratch scratch;
  const auto made = from_json(scratch, R"({"a": 0, "b": 1, "Ġ": 2, "c": 3})", "[]",
                              R"([{"id": 10, "content": "ab", "special": false}, {"id": 11, "content": "abc", "special": true},
                                  {"id": 12, "content": "<l>", "special": true, "lstrip": true}, {"id": 13, "content": "<r>", "special": true, "rstrip": true},
                                  {"id": 14, "content": "cc", "special": false, "single_word": true}, {"id": 15, "content": "bc", "special": false}])");
  REQUIRE(made);
  const auto parsed = [&](std::string_view text) {
    return encode(**made, text, {.add_special = false, .parse_special = true, .offsets = true});
  };
  CHECK(parsed("abc").ids == std::vector<int32_t>{11});
  CHECK(plain_ids(**made, "abc") == std::vector<int32_t>{10, 3});
  CHECK(parsed("a <l> b").ids == std::vector<int32_t>{0, 12, 2, 1});
  CHECK(parsed("a <l> b").offsets == std::vector<uint32_t>{0, 1, 1, 5, 5, 6, 6, 7});
  CHECK(parsed("a <r>\n b").ids == std::vector<int32_t>{0, 2, 13, 1});
  CHECK(parsed("cc acc cca cc").ids == std::vector<int32_t>{14, 2, 0, 3, 3, 2, 3, 3, 0, 2, 14});
  CHECK((*made)->is_special(11));
  CHECK_FALSE((*made)->is_special(10));
  CHECK_FALSE((*made)->is_special(99));
  CHECK(*(*made)->decode({0, 11, 10}, true) == "aab");
}

TEST_CASE("ids around a text are only added when asked for") {
  const Scratch scratch;
  const auto made =
      from_json(scratch, R"({"a": 0, "<s>": 1, "</s>": 2})", "[]", "[]", R"(, "single": [{"id": "<s>"}, {"text": "A"}, {"id": 2}, {"id": 2}])");
  REQUIRE(made);
  const Encoding added = encode(**made, "a😀", {.add_special = true, .offsets = true});
  CHECK(added.ids == std::vector<int32_t>{1, 0, 2, 2});
  CHECK(added.offsets == std::vector<uint32_t>{0, 0, 0, 1, 3, 3, 3, 3});
  CHECK(plain_ids(**made, "a") == std::vector<int32_t>{0});
}

TEST_CASE("a space before the text belongs to its first character, and trimmed offsets leave spaces out") {
  const Scratch scratch;
  const std::string file =
      scratch.write("tokenizer.json", R"({"model": {"vocab": {"a": 0, "Ġ": 1, "Ġa": 2}, "merges": ["Ġ a"]}})");
  const auto with = [&](const char* trim) {
    auto made = make("{\"vocab\": {\"from\": \"tokenizer.json\", \"file\": \"" + file +
                     R"("}, "preTokenizer": ["gpt2"], "decoder": ["byteLevel"], "model": {"kind": "bpe", "byteLevel": true, "addSpacePrefix": true})" +
                     trim + "}");
    REQUIRE(made);
    const Encoding encoding = encode(**made, "a a", {.add_special = false, .offsets = true});
    CHECK(encoding.ids == std::vector<int32_t>{2, 2});
    return encoding.offsets;
  };
  CHECK(with("") == std::vector<uint32_t>{0, 1, 1, 3});
  CHECK(with(R"(, "trimOffsets": true, "trimKeepsFirst": true)") == std::vector<uint32_t>{0, 1, 2, 3});
}

TEST_CASE("SentencePiece merges the best score first, and spells unknown characters as bytes") {
  const Scratch scratch;
  const auto made =
      from_gguf(scratch, spm_file({{"\u2581", -1}, {"a", -1}, {"b", -1}, {"ab", -3}, {"\u2581a", -2}, {"ba", -2}}), kSpm);
  REQUIRE(made);
  const int32_t first = 258;
  CHECK(plain_ids(**made, "ab") == std::vector<int32_t>{first + 4, first + 2});
  CHECK(plain_ids(**made, "abab") == std::vector<int32_t>{first + 4, first + 5, first + 2});
  CHECK(plain_ids(**made, "é") == std::vector<int32_t>{first, 2 + 0xC3, 2 + 0xA9});
  CHECK(plain_ids(**made, "").empty());
  const Encoding encoding = encode(**made, "é a", {.add_special = false, .offsets = true});
  CHECK(encoding.offsets == std::vector<uint32_t>{0, 1, 0, 1, 0, 1, 1, 3});
  CHECK(*(*made)->decode(encoding.ids, false) == "é a");
}

TEST_CASE("the detokenizer gives out whole characters only") {
  const Scratch scratch;
  const auto made = from_gguf(scratch, spm_file({{"\u2581", -1}, {"\u2581a", -2}}), kSpm);
  REQUIRE(made);
  std::vector<int32_t> ids{259};
  const std::string text = "a😀é€\xF0\x9F\x98z\xFF";
  for (const char c : text.substr(1)) ids.push_back(2 + static_cast<unsigned char>(c));
  CHECK(streamed(*made, ids, false) == "a😀é€\uFFFDz\uFFFD");
  CHECK(*(*made)->decode(ids, false) == "a😀é€\uFFFDz\uFFFD");
  // Cut anywhere: what continues a text gives the rest of it, with the character that the first part left unfinished.
  for (size_t cut = 0; cut <= ids.size(); cut++) {
    Detokenizer detokenizer(*made);
    std::string rest;
    detokenizer.continue_after({ids.begin(), ids.begin() + static_cast<ptrdiff_t>(cut)});
    for (size_t i = cut; i < ids.size(); i++) detokenizer.push(ids[i], rest);
    detokenizer.finish(rest);
    CHECK(std::string_view("a😀é€\uFFFDz\uFFFD").ends_with(rest));
  }
}

TEST_CASE("the detokenizer takes away the first space of a text, not of a continued one") {
  const Scratch scratch;
  const auto made = from_gguf(scratch, spm_file({{"\u2581", -1}, {"\u2581a", -2}}), kSpm);
  REQUIRE(made);
  const auto after = [&](const std::vector<int32_t>& before) {
    Detokenizer detokenizer(*made);
    std::string text;
    detokenizer.continue_after(before);
    detokenizer.push(259, text);
    return text;
  };
  CHECK(after({}) == "a");
  CHECK(after({1}) == "a");
  CHECK(after({1, 259}) == " a");
  CHECK(streamed(*made, {1, 259, 1, 259}, false) == "a a");
  CHECK(streamed(*made, {1, 259}, true) == "<s> a");
  Detokenizer detokenizer(*made);
  std::string text;
  detokenizer.push(-1, text);
  detokenizer.push(99999, text);
  CHECK(text.empty());
}

TEST_CASE("a megabyte without a place to split is not slow") {
  const Scratch scratch;
  const auto made = from_gguf(scratch, spm_file({{"\u2581", -1}, {"x", -1}, {"xx", -2}, {"xxxx", -3}}), kSpm);
  REQUIRE(made);
  CHECK(plain_ids(**made, std::string(1 << 18, 'x')).size() == (1 << 16) + 1);
  CHECK(plain_ids(**made, std::string(1 << 18, ' ')).size() == (1 << 18) + 1);
}

namespace {

// What a normalizer with these steps makes of a text, and the places it says.
std::string normalized(const std::string& steps, std::string_view text, std::vector<uint32_t>* source = nullptr,
                       const std::string& charsmap = "") {
  const auto document = json::Document::parse(steps, "steps");
  REQUIRE(document);
  auto table = Array<char>::make(charsmap.size(), "the table");
  REQUIRE(table);
  if (!charsmap.empty()) std::memcpy(table->data(), charsmap.data(), charsmap.size());
  const auto made = Normalizer::make(document->root(), std::move(*table), "test");
  REQUIRE(made);
  std::string storage;
  const auto result = made->run(text, storage, source);
  REQUIRE(result);
  return std::string(*result);
}

std::string u32(uint32_t value) { return {reinterpret_cast<const char*>(&value), 4}; }

}  // namespace

TEST_CASE("normalization forms, lower case and marks follow Unicode") {
  CHECK(normalized(R"(["nfd"])", "é각\u0344a\u0307\u0323") == "e\u0301\u1100\u1161\u11A8\u0308\u0301a\u0323\u0307");
  CHECK(normalized(R"(["nfc"])", "e\u0301\u1100\u1161\u11A8 \u212B") == "é각 Å");
  CHECK(normalized(R"(["nfkc"])", "ﬁ½ｶﾞ㎏ﷺ") == "fi1\u20442ガkgصلى الله عليه وسلم");
  CHECK(normalized(R"(["nfkd"])", "ｶﾞÅ") == "カ\u3099A\u030A");
  CHECK(normalized(R"(["lowercase"])", "AÉİΣǄẞȺ𐐀") == "aéi\u0307σǆßⱥ𐐨");
  CHECK(normalized(R"(["nfd", "stripNonspacing"])", "Ünïcödé का") == "Unicode का");
  CHECK(normalized(R"(["stripMarks"])", "e\u0301का") == "eक");
  CHECK(normalized(R"(["cleanText"])", "a\u0001\tb\u200Bc\u00A0d\uFFFD") == "a bc d");
  CHECK(normalized(R"(["spaceChinese"])", "a中文か") == "a 中  文 か");
  CHECK(normalized(R"([{"kind": "strip", "left": true, "right": true}])", " \u3000a b\n ") == "a b");
  CHECK(normalized(R"([{"kind": "strip", "left": true, "right": true}])", "  \n") == "");
  CHECK(normalized(R"([{"kind": "replaceSpaces", "least": 2, "to": "▁"}])", "  a b   ") == "▁a b▁");
  CHECK(normalized(R"([{"kind": "replaceWhitespace", "least": 1, "to": " "}])", "a\n\tb ") == "a b ");
  CHECK(normalized(R"([{"kind": "prepend", "to": "▁"}])", "") == "");
  std::vector<uint32_t> source;
  CHECK(normalized(R"(["nfkd", {"kind": "replace", "from": "fi", "to": "x"}, {"kind": "prepend", "to": "-"}])", "aﬁé", &source) ==
        "-axe\u0301");
  CHECK(source == std::vector<uint32_t>{0, 0, 1, 4, 4, 4});
}

TEST_CASE("spaces are marked as SentencePiece does") {
  const auto marked = [](const char* flags, std::string_view text) {
    return normalized(std::string(R"([{"kind": "markSpaces", "to": "_", )") + flags + "}]", text);
  };
  CHECK(marked(R"("prefix": true, "merge": true)", "  a  b ") == "_a_b");
  CHECK(marked(R"("prefix": true, "merge": false)", "a  b ") == "_a__b_");
  CHECK(marked(R"("prefix": false, "merge": false)", "a b") == "a_b");
  CHECK(marked(R"("suffix": true, "merge": false)", "a b") == "a_b_");
}

TEST_CASE("a normalization table is distrusted") {
  // A trie with one sequence, a: the root's children are at 0 ^ offset ^ byte.
  const auto unit = [](uint32_t offset, bool leaf, uint32_t label) { return offset << 10 | (leaf ? 0x100u : 0u) | label; };
  std::vector<uint32_t> units(256, 0);
  units[0] = unit(1, false, 0);
  units[1 ^ 'a'] = unit(('a' ^ 1) ^ 200, true, 'a');
  units[200] = 0x80000000u | 3;
  std::string trie;
  const auto table = [&](const std::string& texts) {
    trie.clear();
    for (const uint32_t u : units) trie += u32(u);
    return u32(static_cast<uint32_t>(trie.size())) + trie + texts;
  };
  const char* longest = R"([{"kind": "precompiled", "longest": true}])";
  const char* shortest = R"([{"kind": "precompiled", "longest": false}])";
  const std::string good = table(std::string("x\0\0bc\0", 6));
  for (const char* steps : {longest, shortest}) {
    CHECK(normalized(steps, "aba", nullptr, good) == "bcbbc");
    units[200] = 0x80000000u | 6;  // beyond the texts
    CHECK(normalized(steps, "aba", nullptr, table(std::string("x\0\0bc\0", 6))) == "aba");
    units[200] = 0x80000000u | 3;
    CHECK(normalized(steps, "aba", nullptr, table(std::string("x\0\0bc", 5))) == "aba");  // without an end
    units[1 ^ 'a'] = unit(0x1FFFFF, true, 'a');  // beyond the trie
    CHECK(normalized(steps, "aba", nullptr, good.substr(0, 4) + table("").substr(4) + std::string("x\0\0bc\0", 6)) == "aba");
    units[1 ^ 'a'] = unit(('a' ^ 1) ^ 200, true, 'a');
    std::vector<uint32_t> source;
    CHECK(normalized(steps, "aé", &source, good) == "bcé");
    CHECK(source == std::vector<uint32_t>{0, 0, 1, 1});
  }
  const auto refused = [](const std::string& bytes) {
    auto array = Array<char>::make(bytes.size(), "the table");
    REQUIRE(array);
    std::memcpy(array->data(), bytes.data(), bytes.size());
    return code_of(Charsmap::make(std::move(*array), "test"));
  };
  CHECK(refused("abc") == ErrorCode::kTokenizerInvalid);
  CHECK(refused(u32(4)) == ErrorCode::kTokenizerInvalid);
  CHECK(refused(u32(3) + "abcd") == ErrorCode::kTokenizerInvalid);
  CHECK(refused(u32(UINT32_MAX - 3) + "abcd") == ErrorCode::kTokenizerInvalid);
  CHECK(refused(u32(0) + "\xFF") == ErrorCode::kTokenizerInvalid);
  // Random tables: any answer, but no access outside (for the sanitizers).
  uint64_t state = 88172645463325252u;
  const auto random = [&] {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return static_cast<uint32_t>(state >> 16);
  };
  for (int round = 0; round < 200; round++) {
    for (uint32_t& u : units) u = (random() & 0x3FFFF) << 10 | (random() & 0x1FF);
    for (size_t i = 0; i < units.size(); i++) units[i] = (units[i] & ~0xFFu) | static_cast<uint32_t>(i & 0x7F);
    for (const char* steps : {longest, shortest})
      normalized(steps, "hello e\u0301 \r\n 中 ab", nullptr, table(std::string("a\0b\0\0é\0", 8)));
  }
}

TEST_CASE("Unigram takes the best path, WordPiece the longest piece") {
  const Scratch scratch;
  const auto make_json = [&](const std::string& file_model, const std::string& model, const std::string& decoder) {
    const std::string file = scratch.write("tokenizer.json", "{\"model\": " + file_model + "}");
    return make("{\"vocab\": {\"from\": \"tokenizer.json\", \"file\": \"" + file + "\"}, \"decoder\": " + decoder +
                ", \"model\": " + model + "}");
  };
  const std::string unigram = R"({"kind": "unigram", "unknown": 0, "byteFallback": true, "onlyText": false})";
  const auto words = make_json(
      R"({"type": "Unigram", "vocab": [["<unk>", 0], ["a", -1], ["b", -1], ["ab", -1.5], ["abc", -9], ["c", -1], ["<0xC3>", -5], ["<0xA9>", -5]]})",
      unigram, R"(["bytes"])");
  REQUIRE(words);
  CHECK(plain_ids(**words, "abc") == std::vector<int32_t>{3, 5});
  CHECK(plain_ids(**words, "aéb") == std::vector<int32_t>{1, 6, 7, 2});
  CHECK(plain_ids(**words, "axyb") == std::vector<int32_t>{1, 0, 2});
  CHECK(*(*words)->decode({1, 6, 7, 2}, false) == "aéb");
  const auto bad = [&](const char* vocab) {
    CAPTURE(vocab);
    return code_of(make_json(std::string(R"({"type": "Unigram", "vocab": )") + vocab + "}", unigram, R"(["bytes"])"));
  };
  CHECK(bad("[]") == ErrorCode::kTokenizerInvalid);
  CHECK(bad(R"([["a"]])") == ErrorCode::kTokenizerInvalid);
  CHECK(bad(R"([["a", "b"]])") == ErrorCode::kTokenizerInvalid);
  CHECK(bad(R"([["a", 1e999]])") == ErrorCode::kTokenizerInvalid);
  CHECK(bad(R"([["a", 0], ["a", 0]])") == ErrorCode::kTokenizerInvalid);
  CHECK(bad(R"({"a": 0})") == ErrorCode::kTokenizerInvalid);
  CHECK(bad((R"([["a", 0], [")" + std::string(2000, 'x') + R"(", 0]])").c_str()) == ErrorCode::kTokenizerInvalid);

  const auto pieces = R"({"type": "WordPiece", "vocab": {"[UNK]": 0, "a": 1, "ab": 2, "##c": 3, "##cd": 4, "##b": 5}})";
  const auto wordpiece = [&](const char* most) {
    return make_json(pieces,
                     std::string(R"({"kind": "wordpiece", "wordPrefix": "", "continuingPrefix": "##", "unknown": "[UNK]", "maxCharacters": )") +
                         most + "}",
                     R"([{"kind": "wordPiece", "from": "##"}, "cleanup"])");
  };
  const auto made = wordpiece("4");
  REQUIRE(made);
  CHECK(plain_ids(**made, "abcd") == std::vector<int32_t>{2, 4});
  CHECK(plain_ids(**made, "abx") == std::vector<int32_t>{0});
  CHECK(plain_ids(**made, "abccc") == std::vector<int32_t>{0});
  CHECK(*(*made)->decode({2, 4, 1}, false) == "abcd a");
  CHECK(code_of(wordpiece("0")) == ErrorCode::kTokenizerInvalid);
  CHECK(code_of(wordpiece("-1")) == ErrorCode::kTokenizerInvalid);
}

TEST_CASE("a megabyte is quick for every kind, whatever it is made of") {
  const size_t size = size_t{1} << 20;
  for (const char* name : {"llama2-bpe-fallback", "gemma-bpe-fallback", "wordpiece-cased", "wordpiece-uncased", "unigram-t5",
                           "unigram-bytes"}) {
    CAPTURE(name);
    const std::string where = made_folder() + name + "/";
    const auto made = make(description_of(where + "description.json", where));
    REQUIRE(made);
    for (const char* unit : {"a", " ", "the ", "\u0301", "▁", "中", "\n", "e\u0301\u0323", "\uFDFA", "<", "💩"}) {
      CAPTURE(unit);
      std::string text;
      while (text.size() < size) text += unit;
      const auto start = std::chrono::steady_clock::now();
      const Encoding encoding = encode(**made, text, {.offsets = true});
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      CHECK(encoding.offsets.size() == 2 * encoding.ids.size());
      CHECK(seconds < 20);  // a quadratic algorithm takes minutes
      if (std::getenv("INFERNODE_TIMES")) std::cerr << name << " '" << unit << "' " << seconds << " s\n";
    }
  }
}

TEST_CASE("the skeleton of a tokenizer.json leaves out what is large") {
  const Scratch scratch;
  const std::string file = scratch.write(
      "tokenizer.json",
      R"({"a": "x\"\u00e9", "added_tokens": [1], "model": {"type": "BPE", "vocab": {"a": 1}, "merges": [], "b": [1, {}]}, "c": null})");
  const auto skeleton = tokenizer_json_skeleton(file);
  REQUIRE(skeleton);
  CHECK(*skeleton == R"({"a":"x\"\u00e9","model":{"type":"BPE","b":[1, {}]},"c":null})");
  CHECK(code_of(tokenizer_json_skeleton(scratch.path + "/none.json")) == ErrorCode::kFileUnreadable);
  CHECK(code_of(tokenizer_json_skeleton(scratch.write("list.json", "[]"))) == ErrorCode::kTokenizerInvalid);
}
