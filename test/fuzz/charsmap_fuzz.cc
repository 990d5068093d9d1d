// SentencePiece's normalization table, and texts through it: what it finds lies within the text, its replacements are UTF-8.
#include <cstring>

#include "fuzz.h"
#include "tokenizer/charsmap.h"

using namespace infernode;

// The table's size in two bytes, the table, then a text.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  size_t bytes = input.byte();
  bytes |= size_t{input.byte()} << 8;
  const std::string_view rest = input.rest();
  bytes = std::min(bytes, rest.size());
  auto table = Array<char>::make(bytes, "a table");
  FUZZ_CHECK(table);
  if (bytes > 0) std::memcpy(table->data(), rest.data(), bytes);
  auto charsmap = Charsmap::make(std::move(*table), "input");
  if (!charsmap) return 0;
  for (std::string_view text = rest.substr(bytes); !text.empty(); text.remove_prefix(1))
    for (const bool longest : {false, true})
      if (const auto match = charsmap->find(text, longest)) {
        std::string storage;
        FUZZ_CHECK(match->length > 0 && match->length <= text.size());
        FUZZ_CHECK(unicode::well_formed(match->replacement, storage).data() == match->replacement.data());
      }
  return 0;
}
