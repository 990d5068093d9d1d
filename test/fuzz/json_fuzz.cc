// The JSON reader: what it accepts can be walked to the end, and what it quotes can be read again.
#include "fuzz.h"

using namespace infernode;

namespace {

void walk(const json::Value& value) {
  std::string storage;
  (void)value.number();
  (void)value.integer();
  (void)value.boolean();
  const std::string text = value.string();
  FUZZ_CHECK(value.view(storage) == text);
  if (value.is_string()) {
    std::string quoted;
    json::append_quoted(quoted, text);
    auto again = json::Document::parse(quoted, "quoted");
    FUZZ_CHECK(again && again->root().string() == text);
  }
  size_t n = 0;
  for (const json::Value element : value.elements()) {
    walk(element);
    n++;
  }
  for (auto [key, member] : value.members()) {
    walk(key);
    walk(member);
    n++;
  }
  FUZZ_CHECK(n == value.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const bool unique : {false, true}) {
    auto document = json::Document::parse(text, "input", {.unique_keys = unique});
    if (document) walk(document->root());
  }
  return 0;
}
