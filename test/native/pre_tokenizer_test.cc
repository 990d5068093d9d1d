// Pre-tokenizer patterns against the splits of a regular expression engine, and NFC against well-known cases.
#include <doctest/doctest.h>

#include <cstdint>
#include <fstream>
#include <iterator>

#include "json.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/unicode.h"

using namespace infernode;

namespace {

std::vector<std::string> split(const std::vector<SplitPattern>& patterns, const std::string& text) {
  std::vector<std::string> pieces;
  std::vector<SplitStep> steps;
  for (const SplitPattern pattern : patterns) steps.push_back({pattern});
  Regex::Scratch scratch{{}, Regex::steps_for(text.size())};
  const Status status = PreTokenizer(steps).split(text, scratch, [&](std::string_view piece) -> Status {
    pieces.emplace_back(piece);
    return {};
  });
  CHECK(status);
  return pieces;
}

std::string nfc(std::string_view text) {
  std::string out;
  std::vector<uint32_t> source;
  unicode::append_normalized(text, unicode::Form::kNfc, SIZE_MAX, out, &source);
  CHECK(source.size() == out.size());
  CHECK((!unicode::surely_nfc(text) || out == text));
  return out;
}

}  // namespace

TEST_CASE("pre-tokenizer patterns split as their regular expressions do") {
  std::ifstream file("test/fixtures/tokenizers/splits.json");
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const auto document = json::Document::parse(text, "splits.json");
  REQUIRE(document);
  CHECK(document->root().size() > 15);
  for (auto [name, cases] : document->root().members()) {
    const int pattern = split_pattern_of(name.string());
    REQUIRE(pattern >= 0);
    for (const json::Value pieces : cases.elements()) {
      std::vector<std::string> expected;
      std::string whole;
      for (const json::Value piece : pieces.elements()) whole += expected.emplace_back(piece.string());
      CAPTURE(name.string());
      CAPTURE(whole);
      CHECK(split({static_cast<SplitPattern>(pattern)}, whole) == expected);
    }
  }
}

TEST_CASE("pre-tokenizer patterns split one after the other") {
  CHECK(split({SplitPattern::kDigits, SplitPattern::kGpt2}, "ab 12") == std::vector<std::string>{"ab", " ", "1", "2"});
  CHECK(split({}, "ab 12") == std::vector<std::string>{"ab 12"});
  CHECK(split({SplitPattern::kGpt2}, "").empty());
  // Digits over byte characters cut inside of characters: the bytes of ò end in one that is spelled as a superscript two.
  CHECK(split({SplitPattern::kByteDigitRuns}, "ò1") == std::vector<std::string>{"\xC3",
                                                                                "\xB2"
                                                                                "1"});
}

TEST_CASE("unknown pattern names are refused") { CHECK(split_pattern_of("gpt3") == -1); }

TEST_CASE("nfc composes, orders marks and leaves exclusions apart") {
  CHECK(nfc("plain") == "plain");
  CHECK(nfc("e\u0301") == "\u00e9");
  CHECK(nfc("a\u0301\u0323") == "\u1ea1\u0301");
  CHECK(nfc("\u212b\u2126") == "\u00c5\u03a9");
  CHECK(nfc("\u0958") == "\u0915\u093c");
  CHECK(nfc("\u1112\u1161\u11ab") == "\ud55c");
  CHECK(nfc("\u0301e") == "\u0301e");
  CHECK(nfc("\u0344") == "\u0308\u0301");
  CHECK(nfc("x\u0301\u0302y") == "x\u0301\u0302y");
}

TEST_CASE("text that is not UTF-8 becomes U+FFFD, one for each part that a decoder takes at once") {
  std::string storage;
  CHECK(unicode::well_formed("a\x80z", storage) == "a\uFFFDz");
  CHECK(unicode::well_formed("\xF0\x9F\x98", storage) == "\uFFFD");
  CHECK(unicode::well_formed("\xED\xA0\x80", storage) == "\uFFFD\uFFFD\uFFFD");
  CHECK(unicode::well_formed("\xE2\x82x\uFFFD", storage) == "\uFFFDx\uFFFD");
  CHECK(unicode::well_formed("\xC0\xAF\xFF", storage) == "\uFFFD\uFFFD\uFFFD");
}
