// Programs of regular expressions: a text before 0xFF is the program, the text after it is searched.
#include "fuzz.h"
#include "tokenizer/regex.h"

using namespace infernode;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  const std::string_view program = input.until_ff();
  std::string storage;
  const std::string_view text = unicode::well_formed(input.rest(), storage);
  auto document = json::Document::parse(program, "program");
  if (!document) return 0;
  auto regex = Regex::make(document->root(), "input");
  if (!regex) return 0;
  const char *begin = text.data(), *end = begin + text.size();
  Regex::Scratch scratch{{}, 100'000};
  for (const char* p = begin; p < end; p += unicode::decode(p, end).length) {
    auto match = (*regex)->match(begin, end, p, scratch);
    if (!match) return 0;
    FUZZ_CHECK(!*match || (*match >= p && *match <= end));
    FUZZ_CHECK(scratch.branches.empty());
  }
  return 0;
}
