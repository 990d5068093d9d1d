// Descriptions of tokenizers, which are distrusted like files: text before 0xFF is the description, text after it is encoded.
#include "fuzz.h"

using namespace infernode;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  const std::string_view description = input.until_ff();
  // Other files are none of its business.
  auto document = json::Document::parse(description, "description");
  if (!document || !document->root().get("vocab").get("file").string().starts_with("test/fixtures/")) return 0;
  const auto tokenizer = fuzz::make(description);
  if (!tokenizer) return 0;
  fuzz::check_encoding(tokenizer, input.rest(), {true, true, true, true});
  fuzz::check_encoding(tokenizer, "Once upon  a time, é漢🦙 <s></s>\n12345", {true, false, true, true});
  return 0;
}
