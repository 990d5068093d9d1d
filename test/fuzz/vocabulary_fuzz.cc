// Vocabularies that anybody may have made: tokenizer.json files, and the byte ranges of GGUF files.
#include "fuzz.h"

using namespace infernode;

namespace {

// Ranges with sizes and counts of the fuzzer's choice over its own bytes.
std::string gguf_vocab(fuzz::Input& input, const std::string& file) {
  std::string out = "{\"from\":\"gguf\",\"file\":\"" + file + "\"";
  uint32_t offset = 0;
  for (const char* name : {"tokens", "scores", "types", "merges", "charsmap"}) {
    const uint8_t shape = input.byte();
    out += std::string(",\"") + name + "\":";
    if (shape == 0 && name[0] != 't') {
      out += "null";
      continue;
    }
    const uint32_t bytes = uint32_t{shape} << 4 | (input.byte() & 15), count = input.byte();
    out += "{\"offset\":" + std::to_string(offset) + ",\"bytes\":" + std::to_string(bytes) + ",\"count\":" + std::to_string(count) + "}";
    offset += bytes;
  }
  return out + ",\"control\":[" + std::to_string(input.byte()) + "]}";
}

constexpr const char* kModels[] = {
    R"({"kind":"bpe","byteLevel":true,"ignoreMerges":false,"addSpacePrefix":false,"unknown":null})",
    R"({"kind":"bpe","byteLevel":false,"byteFallback":true,"fuseUnknown":true,"unknown":0})",
    R"({"kind":"spm","addSpacePrefix":true,"unknown":0})",
    R"({"kind":"wordpiece","wordPrefix":"▁","continuingPrefix":"","maxCharacters":9,"unknown":0})",
    R"({"kind":"unigram","unknown":0,"byteFallback":true,"onlyText":true})",
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  const uint8_t first = input.byte();
  const fuzz::MemoryFile file({reinterpret_cast<const char*>(data), size});
  std::shared_ptr<const Tokenizer> tokenizer;
  if (first & 0x80) {
    const std::string vocab = gguf_vocab(input, file.path());
    tokenizer = fuzz::make("{\"vocab\":" + vocab + ",\"normalizer\":[{\"kind\":\"precompiled\",\"longest\":true}],\"preTokenizer\":[],\"model\":" +
                           kModels[first % std::size(kModels)] + ",\"single\":[],\"pair\":[],\"decoder\":[\"typedBytes\"]}");
  } else {
    const fuzz::MemoryFile json(input.rest());
    static const std::vector<std::string> descriptions = [] {
      std::vector<std::string> all;
      for (const char* kind : fuzz::kKinds) all.push_back(fuzz::description_of(kind, "FILE"));
      return all;
    }();
    std::string description = descriptions[first % descriptions.size()];
    description.replace(description.find("FILE"), 4, json.path());
    tokenizer = fuzz::make(description);
    (void)tokenizer_json_skeleton(json.path());
  }
  if (tokenizer) fuzz::check_encoding(tokenizer, "Once upon  a time, é漢🦙 <s></s>\n12345", {true, true, true, true});
  return 0;
}
