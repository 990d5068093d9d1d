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

namespace {

Result<std::shared_ptr<const Regex>> program(const std::string& text) {
  static std::vector<std::unique_ptr<std::string>> kept;  // documents do not copy their text
  const std::string& copy = *kept.emplace_back(std::make_unique<std::string>(text));
  auto document = json::Document::parse(copy, "program");
  REQUIRE(document);
  return Regex::make(document->root(), "program");
}

}  // namespace

TEST_CASE("programs of regular expressions are distrusted") {
  const std::string sets = R"("sets":[[97,122]])";
  CHECK(program("{" + sets + R"(,"code":[["set",0],["match"]]})"));
  for (const char* code :
       {R"([])", R"([["set",0]])", R"([["set",1],["match"]])", R"([["set",-1],["match"]])", R"([["set"],["match"]])",
        R"([["jump",2],["match"]])", R"([["split",0,9],["match"]])", R"([["nope"],["match"]])", R"([7,["match"]])",
        R"([["run",0,2,1,"greedy"],["match"]])", R"([["run",0,-1,1,"greedy"],["match"]])", R"([["run",0,0,-2,"lazy"],["match"]])",
        R"([["run",0,0,1,"eager"],["match"]])", R"([["look",99,false],["match"]])", R"([["match"],["look",0,false]])"})
    CHECK_MESSAGE(!program("{" + sets + ",\"code\":" + code + "}"), code);
  for (const char* wrong : {R"([[98,97]])", R"([[97]])", R"([[97,99,99,100]])", R"([[-1,5]])", R"([[0,1114112]])", R"([["a","b"]])"})
    CHECK_MESSAGE(!program(std::string("{\"sets\":") + wrong + R"(,"code":[["match"]]})"), wrong);
}

TEST_CASE("a program ends, whatever it does") {
  const std::string text(2000, 'a');
  // In turn: a jump to itself, a group that may match nothing and is repeated, all ways to divide a run, nested looking ahead.
  for (const char* code : {R"([["jump",0],["match"]])", R"([["split",1,2],["jump",0],["set",1],["match"]])",
                           R"([["run",0,1,-1,"greedy"],["split",0,2],["set",1],["match"]])",
                           R"([["look",0,false],["match"],["match"]])"}) {
    const auto regex = program(std::string(R"({"sets":[[97,97],[98,98]],"code":)") + code + "}");
    REQUIRE_MESSAGE(regex, code);
    Regex::Scratch scratch{{}, Regex::steps_for(text.size())};
    const auto match = (*regex)->match(text.data(), text.data() + text.size(), text.data(), scratch);
    CHECK_MESSAGE(!match, code);
    if (!match) CHECK(match.error().code == ErrorCode::kInvalidArgument);
  }
}
