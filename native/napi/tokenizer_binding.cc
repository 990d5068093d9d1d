// Tokenizers for JavaScript: plain objects whose methods hold the tokenizer, so that a wrong `this` cannot reach native memory.
#include "napi/tokenizer_binding.h"


#include "json.h"
#include "napi/arguments.h"
#include "napi/promise.h"

namespace infernode {

namespace {

using Shared = std::shared_ptr<const Tokenizer>;

constexpr napi_type_tag kTokenizerTag = {0x6b1f5a9e0c2d4e71, 0x9a3c7d20e5f84b16};
constexpr size_t kMaxIds = size_t{1} << 28;

// encode(text, { addSpecial, parseSpecial, offsets, pair? }): Promise<{ ids, offsets, typeIds }>
Napi::Value encode(const Napi::CallbackInfo& info, const Shared& tokenizer) {
  Napi::Env env = info.Env();
  Arguments arguments;
  std::string text = arguments.text(info[0], "text");
  EncodeOptions options;
  options.add_special = arguments.boolean(info[1], "addSpecial");
  options.parse_special = arguments.boolean(info[1], "parseSpecial");
  options.offsets = arguments.boolean(info[1], "offsets");
  const Napi::Value second = arguments.get(info[1], "pair");
  options.type_ids = !second.IsUndefined();
  std::string pair = options.type_ids ? arguments.text(second, "pair") : std::string();
  if (!arguments.status) return rejected(env, arguments.status.error());
  auto runtime = Environment::of(env).runtime();
  if (!runtime) return rejected(env, runtime.error());
  Pending<Encoding> pending(env, [](Napi::Env env, Encoding& encoding) -> Napi::Value {
    Napi::Object result = Napi::Object::New(env);
    result.Set("ids", copy_to_js<Napi::Int32Array>(env, encoding.ids.data(), encoding.ids.size()));
    result.Set("offsets", copy_to_js<Napi::Uint32Array>(env, encoding.offsets.data(), encoding.offsets.size()));
    result.Set("typeIds", copy_to_js<Napi::Uint32Array>(env, encoding.type_ids.data(), encoding.type_ids.size()));
    return result;
  });
  (*runtime)->requests().add([tokenizer, text = std::move(text), pair = std::move(pair), options, pending] {
    Encoding encoding;
    Status status = options.type_ids ? tokenizer->encode_pair(text, pair, options, encoding) : tokenizer->encode(text, options, encoding);
    if (status) pending.settle(std::move(encoding));
    else pending.settle(status.error());
  });
  return pending.promise();
}

// decode(ids, { skipSpecial }): Promise<string>
Napi::Value decode(const Napi::CallbackInfo& info, const Shared& tokenizer) {
  Napi::Env env = info.Env();
  Arguments arguments;
  std::vector<int32_t> ids = arguments.ids(info[0], "ids", kMaxIds);
  const bool skip_special = arguments.boolean(info[1], "skipSpecial");
  if (!arguments.status) return rejected(env, arguments.status.error());
  auto runtime = Environment::of(env).runtime();
  if (!runtime) return rejected(env, runtime.error());
  Pending<std::string> pending(env, [](Napi::Env env, std::string& text) -> Napi::Value { return Napi::String::New(env, text); });
  (*runtime)->requests().add([tokenizer, ids = std::move(ids), skip_special, pending] { pending.settle(tokenizer->decode(ids, skip_special)); });
  return pending.promise();
}

// pieces(ids): string[]
Napi::Value pieces(const Napi::CallbackInfo& info, const Shared& tokenizer) {
  Arguments arguments;
  const std::vector<int32_t> ids = arguments.ids(info[0], "ids", kMaxIds);
  if (!arguments.status) return throw_error(info, arguments.status.error());
  Napi::Array result = Napi::Array::New(info.Env(), ids.size());
  for (uint32_t i = 0; i < ids.size(); i++) {
    if (ids[i] < 0 || static_cast<size_t>(ids[i]) >= tokenizer->vocab_size())
      return throw_error(info, error(ErrorCode::kTokenUnknown, {std::to_string(ids[i]), std::to_string(tokenizer->vocab_size())}));
    result.Set(i, tokenizer->piece(ids[i]));
  }
  return result;
}

Napi::Value is_special(const Napi::CallbackInfo& info, const Shared& tokenizer) {
  Arguments arguments;
  const double id = arguments.number(info[0], "id");
  if (!arguments.status) return throw_error(info, arguments.status.error());
  const bool known = id >= 0 && id < static_cast<double>(tokenizer->vocab_size());
  return Napi::Boolean::New(info.Env(), known && tokenizer->is_special(static_cast<int32_t>(id)));
}

Napi::Value find(const Napi::CallbackInfo& info, const Shared& tokenizer) {
  Arguments arguments;
  const std::string piece = arguments.text(info[0], "piece");
  if (!arguments.status) return throw_error(info, arguments.status.error());
  return Napi::Number::New(info.Env(), tokenizer->find(piece));
}

// Tens of megabytes hang on a small object: V8 is told, so that it collects the object in time.
void adjust_external_memory(napi_env env, const Tokenizer& tokenizer, int sign) {
  int64_t total;
  napi_adjust_external_memory(env, sign * static_cast<int64_t>(tokenizer.memory_bytes()), &total);
}

void finalize(napi_env env, void* data, void*) {
  auto* tokenizer = static_cast<Shared*>(data);
  adjust_external_memory(env, **tokenizer, -1);
  delete tokenizer;
}

Napi::Value wrap(Napi::Env env, const Shared& tokenizer) {
  Napi::Object object = Napi::Object::New(env);
  napi_wrap(env, object, new Shared(tokenizer), finalize, nullptr, nullptr);
  adjust_external_memory(env, *tokenizer, 1);
  napi_type_tag_object(env, object, &kTokenizerTag);
  const auto method = [&](const char* name, Napi::Value (*call)(const Napi::CallbackInfo&, const Shared&)) {
    object.Set(name, Napi::Function::New(env, [tokenizer, call](const Napi::CallbackInfo& info) { return call(info, tokenizer); }, name));
  };
  object.Set("vocabSize", static_cast<double>(tokenizer->vocab_size()));
  method("encode", encode);
  method("decode", decode);
  method("pieces", pieces);
  method("isSpecial", is_special);
  method("find", find);
  return object;
}

}  // namespace

std::shared_ptr<const Tokenizer> tokenizer_of(const Napi::Value& value) {
  bool tagged = false;
  if (!value.IsObject() || napi_check_object_type_tag(value.Env(), value, &kTokenizerTag, &tagged) != napi_ok || !tagged) return nullptr;
  void* data = nullptr;
  if (napi_unwrap(value.Env(), value, &data) != napi_ok) return nullptr;
  return *static_cast<Shared*>(data);
}

Napi::Value create_tokenizer(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments;
  std::string description = arguments.text(info[0], "description");
  if (!arguments.status) return rejected(env, arguments.status.error());
  auto runtime = Environment::of(env).runtime();
  if (!runtime) return rejected(env, runtime.error());
  Pending<Shared> pending(env, [](Napi::Env env, Shared& tokenizer) { return wrap(env, tokenizer); });
  (*runtime)->loading().add([description = std::move(description), pending] {
    auto document = json::Document::parse(description, "the tokenizer's description");
    if (!document) return pending.settle(document.error());
    pending.settle(Tokenizer::make(document->root(), "the tokenizer's description"));
  });
  return pending.promise();
}

Napi::Value tokenizer_json_skeleton_of(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments;
  std::string path = arguments.text(info[0], "path");
  if (!arguments.status) return rejected(env, arguments.status.error());
  auto runtime = Environment::of(env).runtime();
  if (!runtime) return rejected(env, runtime.error());
  Pending<std::string> pending(env, [](Napi::Env env, std::string& text) -> Napi::Value { return Napi::String::New(env, text); });
  (*runtime)->loading().add([path = std::move(path), pending] { pending.settle(tokenizer_json_skeleton(path)); });
  return pending.promise();
}

}  // namespace infernode
