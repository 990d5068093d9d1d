// Stop strings, against a search that sees the whole text at once.
#include "stop.h"

#include <doctest/doctest.h>

#include <chrono>

#include "random.h"

using infernode::StopMatcher;

namespace {

struct Outcome {
  int match;
  std::string text;
  bool operator==(const Outcome&) const = default;
};

// The end that comes first wins, of those the longest string, of equal ones the first.
Outcome search(const std::vector<std::string>& stops, const std::string& text) {
  for (size_t end = 0; end <= text.size(); end++) {
    int best = -1;
    for (size_t i = 0; i < stops.size(); i++) {
      if (stops[i].empty() || stops[i].size() > end || text.compare(end - stops[i].size(), stops[i].size(), stops[i]) != 0) continue;
      if (best < 0 || stops[i].size() > stops[static_cast<size_t>(best)].size()) best = static_cast<int>(i);
    }
    if (best >= 0) return {best, text.substr(0, end - stops[static_cast<size_t>(best)].size())};
  }
  return {-1, text};
}

// The longest end of the text that begins a stop string.
size_t pending(const std::vector<std::string>& stops, const std::string& text) {
  size_t longest = 0;
  for (const std::string& stop : stops)
    for (size_t n = 1; n < stop.size() && n <= text.size(); n++)
      if (text.compare(text.size() - n, n, stop, 0, n) == 0) longest = std::max(longest, n);
  return longest;
}

}  // namespace

TEST_CASE("a stop string is found across pieces, and text before it comes out") {
  StopMatcher matcher({"\n\nUser:", "</s>"});
  std::string out;
  CHECK(matcher.push("Hello\n", out) == -1);
  CHECK(out == "Hello");
  CHECK(matcher.push("\nUs", out) == -1);
  CHECK(out == "Hello");
  CHECK(matcher.push("ing it", out) == -1);
  CHECK(out == "Hello\n\nUsing it");
  CHECK(matcher.push("<", out) == -1);
  CHECK(matcher.push("/s> and more", out) == 1);
  CHECK(out == "Hello\n\nUsing it");
  CHECK(matcher.push("ignored", out) == 1);
  matcher.finish(out);
  CHECK(out == "Hello\n\nUsing it");
}

TEST_CASE("held text comes out at the end") {
  StopMatcher matcher({"stop"});
  std::string out;
  CHECK(matcher.push("do not sto", out) == -1);
  CHECK(out == "do not ");
  matcher.finish(out);
  CHECK(out == "do not sto");
}

TEST_CASE("without stop strings, or with empty ones, everything passes at once") {
  for (const std::vector<std::string>& stops : {std::vector<std::string>{}, {""}, {"", ""}}) {
    StopMatcher matcher(stops);
    std::string out;
    CHECK(matcher.push("all of it", out) == -1);
    CHECK(out == "all of it");
  }
}

TEST_CASE("of equal stop strings the first is reported, of those with one end the longest") {
  std::string out;
  CHECK(StopMatcher({"x", "ab", "ab"}).push("ab", out) == 1);
  out.clear();
  CHECK(StopMatcher({"c", "bc", "abc"}).push("zabc", out) == 2);
  CHECK(out == "z");
  out.clear();
  CHECK(StopMatcher({"abcd", "bc"}).push("abcd", out) == 1);
  CHECK(out == "a");
}

TEST_CASE("characters are never cut, even if stops share their first bytes with other text") {
  StopMatcher matcher({"é!", "日本"});
  std::string out;
  CHECK(matcher.push("è", out) == -1);  // the first byte of é too
  CHECK(out == "è");
  CHECK(matcher.push("日月", out) == -1);
  CHECK(out == "è日月");
  CHECK(matcher.push("é", out) == -1);
  CHECK(out == "è日月");
  CHECK(matcher.push("!", out) == 0);
  CHECK(out == "è日月");
}

TEST_CASE("any text in any pieces gives what a search of the whole gives, holding back no more than it must") {
  uint64_t draw = 0;
  const auto random = [&](size_t n) { return static_cast<size_t>(infernode::uniform(5, 0, draw++) * static_cast<double>(n)); };
  const auto word = [&](size_t most) {
    std::string text;
    for (size_t n = random(most + 1); n > 0; n--) text += "ab"[random(2)];
    return text;
  };
  for (int trial = 0; trial < 3000; trial++) {
    std::vector<std::string> stops(1 + random(4));
    for (auto& stop : stops) stop = word(6);
    const std::string text = word(40);
    StopMatcher matcher(stops);
    Outcome outcome{-1, ""};
    for (size_t at = 0; at < text.size() && outcome.match < 0;) {
      const size_t n = std::min(text.size() - at, 1 + random(5));
      outcome.match = matcher.push(text.substr(at, n), outcome.text);
      at += n;
      if (outcome.match < 0) REQUIRE(outcome.text.size() == at - pending(stops, text.substr(0, at)));
    }
    if (outcome.match < 0) matcher.finish(outcome.text);
    REQUIRE(outcome == search(stops, text));
  }
}

TEST_CASE("text that almost matches for megabytes takes linear time") {
  StopMatcher matcher({std::string(100000, 'a') + "b", std::string(50000, 'a') + "c"});
  std::string out;
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 2000; i++) REQUIRE(matcher.push(std::string(1000, 'a'), out) == -1);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(5));
  CHECK(out.size() == 2000 * 1000 - 100000);
}
