// Texts through good tokenizers of every kind.
#include "fuzz.h"

using namespace infernode;

namespace {

std::vector<std::shared_ptr<const Tokenizer>> tokenizers() {
  std::vector<std::shared_ptr<const Tokenizer>> all;
  for (const std::string kind : fuzz::kKinds) {
    all.push_back(fuzz::make(fuzz::description_of(kind, "test/fixtures/tokenizers/made/" + kind + "/tokenizer.json")));
    FUZZ_CHECK(all.back());
  }
  return all;
}

}  // namespace

// A kind, options, then a text, or two with 0xFF between them.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto all = tokenizers();
  fuzz::Input input(data, size);
  const auto& tokenizer = all[input.byte() % all.size()];
  const uint8_t flags = input.byte();
  const EncodeOptions options{(flags & 1) != 0, (flags & 2) != 0, (flags & 4) != 0, (flags & 8) != 0};
  if (flags & 16) {
    const std::string_view first = input.until_ff();
    Encoding encoding;
    if (tokenizer->encode_pair(first, input.rest(), options, encoding) && options.type_ids)
      FUZZ_CHECK(encoding.type_ids.size() == encoding.ids.size());
    return 0;
  }
  fuzz::check_encoding(tokenizer, input.rest(), options);
  return 0;
}
