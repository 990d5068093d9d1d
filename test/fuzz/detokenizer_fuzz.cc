// Any ids through the streaming detokenizer: whole characters only, and together what decode() gives.
#include "fuzz.h"

using namespace infernode;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto all = [] {
    std::vector<std::shared_ptr<const Tokenizer>> made;
    for (const std::string kind : fuzz::kKinds)
      made.push_back(fuzz::make(fuzz::description_of(kind, "test/fixtures/tokenizers/made/" + kind + "/tokenizer.json")));
    return made;
  }();
  fuzz::Input input(data, size);
  const auto& tokenizer = all[input.byte() % all.size()];
  const bool show_special = input.byte() & 1;
  const size_t n_before = input.byte() % 8;
  std::vector<int32_t> before, ids;
  while (!input.rest().empty()) {
    // Mostly ids of the vocabulary.
    const uint32_t number = uint32_t{input.byte()} << 8 | input.byte();
    const int32_t id = number >= 0xFF00 ? static_cast<int32_t>(number << 16) : static_cast<int32_t>(number % tokenizer->vocab_size());
    (before.size() < n_before ? before : ids).push_back(id);
  }
  Detokenizer detokenizer(tokenizer, {.show_special = show_special});
  if (!before.empty()) detokenizer.continue_after(before);
  std::string all_text;
  for (const int32_t id : ids) {
    std::string text, storage;
    detokenizer.push(id, text);
    FUZZ_CHECK(unicode::well_formed(text, storage).data() == text.data());
    all_text += text;
  }
  detokenizer.finish(all_text);
  auto decoded = tokenizer->decode(ids, !show_special);
  if (before.empty() && decoded) FUZZ_CHECK(all_text == *decoded);
  return 0;
}
