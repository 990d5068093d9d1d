// The JSON reader: what it accepts, what it refuses, and that hostile text costs no more than its size.
#include <doctest/doctest.h>

#include "json.h"

using infernode::ErrorCode;
using infernode::json::Document;
using infernode::json::Kind;
using infernode::json::ParseOptions;
using infernode::json::Value;

namespace {

bool accepts(std::string_view text, ParseOptions options = {}) {
  return static_cast<bool>(Document::parse(text, "test.json", options));
}

std::string reason_for(std::string_view text, ParseOptions options = {}) {
  auto document = Document::parse(text, "test.json", options);
  if (document) return "";
  CHECK(document.error().code == ErrorCode::kFileCorrupt);
  CHECK(document.error().details[0] == "test.json");
  return document.error().details[1] + ": " + document.error().details[2];
}

std::string repeat(std::string_view text, size_t n) {
  std::string out;
  for (size_t i = 0; i < n; i++) out += text;
  return out;
}

}  // namespace

TEST_CASE("json reads every kind of value") {
  const std::string text = R"( {"a": [1, -2.5e3, true, false, null], "b": {"c": "d"}, "": {}, "e": []} )";
  auto document = Document::parse(text, "test.json");
  REQUIRE(document);
  const Document moved = std::move(*document);
  const Value root = moved.root();
  CHECK(root.is_object());
  CHECK(root.size() == 4);
  CHECK(root.get("a").size() == 5);
  CHECK(root.get("a").at(1).number() == -2500);
  CHECK(*root.get("a").at(0).integer() == 1);
  CHECK(root.get("a").at(2).boolean());
  CHECK_FALSE(root.get("a").at(3).boolean());
  CHECK(root.get("a").at(4).is_null());
  CHECK_FALSE(root.get("a").at(4).missing());
  CHECK(root.get("a").at(5).missing());
  CHECK(root.get("b").get("c").string() == "d");
  CHECK(root.get("b").raw() == R"({"c": "d"})");
  CHECK(root.get("").is_object());
  CHECK(root.get("e").is_array());
  CHECK(root.get("x").get("y").at(3).missing());
  CHECK(root.get("x").kind() == Kind::kNull);
  std::string keys;
  for (auto [key, value] : root.members()) keys += key.string() + ";";
  CHECK(keys == "a;b;;e;");
  int elements = 0;
  for (Value element : root.get("a").elements()) elements += element.is_number();
  CHECK(elements == 2);
  for (Value element : root.get("b").elements()) CHECK(element.missing());
}

TEST_CASE("json finds elements behind nested ones") {
  const auto document = Document::parse(R"([[1,2],{"a":[3]},4])", "test.json");
  REQUIRE(document);
  CHECK(*document->root().at(2).integer() == 4);
  CHECK(*document->root().at(1).get("a").at(0).integer() == 3);
}

TEST_CASE("json decodes escapes") {
  const auto document =
      Document::parse(R"(["\"\\\/\b\f\n\r\t", "\u0041\u00e9\u20AC\ud83d\ude00", "é€😀", "\u0000"])", "test.json");
  REQUIRE(document);
  CHECK(document->root().at(0).string() == "\"\\/\b\f\n\r\t");
  CHECK(document->root().at(1).string() == "Aé€😀");
  CHECK(document->root().at(2).string() == "é€😀");
  CHECK(document->root().at(3).string() == std::string(1, '\0'));
  std::string quoted;
  infernode::json::append_quoted(quoted, "a\"\\\n\x01é");
  CHECK(quoted == "\"a\\\"\\\\\\u000a\\u0001é\"");
}

TEST_CASE("json reads numbers as JavaScript does") {
  const auto document = Document::parse(
      R"([0, -0, 0.1, 1e400, -1e400, 1e-400, 9007199254740993, 1e3, 1.5, 9223372036854775808, "1"])", "test.json");
  REQUIRE(document);
  const Value root = document->root();
  CHECK(root.at(2).number() == 0.1);
  CHECK(root.at(3).number() > 1e308);
  CHECK(root.at(4).number() < -1e308);
  CHECK(root.at(5).number() == 0);
  CHECK(*root.at(6).integer() == 9007199254740993);
  CHECK(*root.at(7).integer() == 1000);
  CHECK_FALSE(root.at(8).integer());
  CHECK_FALSE(root.at(9).integer());
  CHECK_FALSE(root.at(10).integer());
  CHECK_FALSE(Value().integer());
  CHECK(root.at(10).number() == 0);
}

TEST_CASE("json refuses what is not JSON") {
  for (const char* text : {"",
                           " ",
                           "{",
                           "[",
                           "[1",
                           "[1,",
                           "[1,]",
                           "{\"a\"}",
                           "{\"a\":}",
                           "{\"a\":1,}",
                           "{,}",
                           "[,]",
                           "{1:2}",
                           "tru",
                           "nul",
                           "01",
                           "1.",
                           "1.e3",
                           ".5",
                           "+1",
                           "1e",
                           "1e+",
                           "-",
                           "\"",
                           "\"a",
                           "\"\\\"",
                           "\"\\x\"",
                           "\"\\u12\"",
                           "\"\\u123g\"",
                           "\"\n\"",
                           "[1] 2",
                           "[1}",
                           "{\"a\":1]",
                           "NaN",
                           "'a'",
                           "[1 2]",
                           "{\"a\" 1}",
                           "\"\\ud83d\"",
                           "\"\\ude00\"",
                           "\"\\ud83d\\u0041\"",
                           "\xEF\xBB\xBF[]",
                           "\"\x80\"",
                           "\"\xC0\x80\"",
                           "\"\xE0\x80\x80\"",
                           "\"\xED\xA0\x80\"",
                           "\"\xF4\x90\x80\x80\"",
                           "\"\xF5\x80\x80\x80\"",
                           "\"\xE2\x82\"",
                           "]",
                           "}",
                           ",",
                           ":"}) {
    CAPTURE(text);
    CHECK_FALSE(accepts(text));
  }
  CHECK(reason_for("[1,\n x]") == "byte 5: not a JSON value");
  CHECK(reason_for("[1,") == "byte 3: the JSON text ends too early");
}

TEST_CASE("json bounds the depth") {
  CHECK(accepts(repeat("[", 64) + repeat("]", 64)));
  CHECK_FALSE(accepts(repeat("[", 65) + repeat("]", 65)));
  CHECK(reason_for(repeat("[", 1000000)) == "byte 64: nested deeper than 64");
  CHECK(accepts(repeat("{\"a\":", 3) + "1" + repeat("}", 3), {.max_depth = 3}));
  CHECK_FALSE(accepts(repeat("{\"a\":", 4) + "1" + repeat("}", 4), {.max_depth = 3}));
}

TEST_CASE("json takes the first of duplicate keys or refuses them") {
  const std::string text = R"({"a": 1, "b": {"c": 1, "\u0063": 2}, "a": 3})";
  const auto document = Document::parse(text, "test.json");
  REQUIRE(document);
  CHECK(*document->root().get("a").integer() == 1);
  CHECK(reason_for(text, {.unique_keys = true}) == "byte 14: the key \"c\" appears twice");
}
