// Jobs that take a tensor from one type to another, on the runtime's conversion thread and compute threads of their own.
#include "napi/quantize_binding.h"

#include <cstring>

#include "napi/arguments.h"
#include "napi/environment.h"
#include "napi/promise.h"
#include "quant/block_types.h"
#include "quantizer.h"

namespace infernode {

namespace {

constexpr double kMaxWhole = 9e15;

TensorType read_type(const Napi::Value& request, const char* name, Arguments& arguments) {
  const std::string type = arguments.text(request, name, 0);
  for (size_t i = 0; i < static_cast<size_t>(TensorType::kCount); i++)
    if (type == kTensorTypes[i].name) return static_cast<TensorType>(i);
  if (arguments.status) arguments.status = error(ErrorCode::kInvalidArgument, {name, "the name of a tensor type", type});
  return TensorType::kCount;
}

TensorPlace read_place(const Napi::Value& place, Arguments& arguments) {
  TensorPlace result{arguments.text(place, "path", 0), static_cast<uint64_t>(arguments.whole(place, "offset", 0, kMaxWhole))};
  if (arguments.status && result.path.empty())
    arguments.status = error(ErrorCode::kInvalidArgument, {"path", "the path of a file", "an empty string"});
  return result;
}

// Copied: a script may detach its buffer at any time.
Status copy_bytes(const Napi::TypedArray& array, QuantizeRequest& request) {
  const size_t n = array.ByteLength();
  INFERNODE_ASSIGN(bytes, Array<std::byte>::make(n, "the source tensor"));
  if (n) std::memcpy(bytes.data(), static_cast<const std::byte*>(array.ArrayBuffer().Data()) + array.ByteOffset(), n);
  auto owner = std::make_shared<Array<std::byte>>(std::move(bytes));
  request.source_bytes = std::shared_ptr<const std::byte>(owner, owner->data());
  request.n_source_bytes = n;
  return {};
}

QuantizeRequest read_request(const Napi::Value& object, Arguments& arguments) {
  QuantizeRequest request;
  request.name = arguments.text(object, "name", 0);
  request.from = read_type(object, "sourceType", arguments);
  request.to = read_type(object, "targetType", arguments);
  request.n_rows = static_cast<uint64_t>(arguments.whole(object, "nRows", 0, kMaxWhole));
  request.row_length = static_cast<uint64_t>(arguments.whole(object, "rowLength", 0, kMaxWhole));
  request.first_row = static_cast<uint64_t>(arguments.whole(object, "firstRow", 0, kMaxWhole));
  if (const Napi::Value source = arguments.get(object, "source"); !source.IsTypedArray()) {
    request.source = read_place(source, arguments);
  } else if (Status status = copy_bytes(source.As<Napi::TypedArray>(), request); !status && arguments.status) {
    arguments.status = std::move(status);
  }
  if (const Napi::Value target = arguments.get(object, "target"); !target.IsNull()) request.target = read_place(target, arguments);
  return request;
}

Napi::Value to_js(Napi::Env env, QuantizeResult& result) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("bytes", copy_to_js<Napi::Uint8Array>(env, reinterpret_cast<const uint8_t*>(result.bytes.data()), result.bytes.size()));
  object.Set("rms", result.rms);
  object.Set("rmse", result.rmse);
  object.Set("maxError", result.max_error);
  Napi::Object worst = Napi::Object::New(env);
  worst.Set("index", static_cast<double>(result.worst_block));
  worst.Set("rmse", result.worst_block_rmse);
  object.Set("worstBlock", worst);
  return object;
}

}  // namespace

Napi::Value encodable_types(const Napi::CallbackInfo& info) {
  Napi::Array names = Napi::Array::New(info.Env());
  uint32_t n = 0;
  for (size_t i = 0; i < static_cast<size_t>(TensorType::kCount); i++)
    if (quant::can_encode(static_cast<TensorType>(i))) names.Set(n++, kTensorTypes[i].name);
  return names;
}

Napi::Value quantize_tensor(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments;
  QuantizeRequest request = read_request(info[0], arguments);
  int threads = static_cast<int>(arguments.whole(info[0], "threads", 0, 1024));
  if (!arguments.status) return throw_error(info, arguments.status.error());
  auto job = QuantizeJob::make(std::move(request));
  if (!job) return throw_error(info, job.error());
  auto runtime = Environment::of(env).runtime();
  if (!runtime) return throw_error(info, runtime.error());
  auto conversion = (*runtime)->conversion();
  if (!conversion) return throw_error(info, conversion.error());
  if (threads == 0) threads = (*runtime)->default_threads();

  Environment::of(env).own(*job);
  Pending<QuantizeResult> pending(env, [](Napi::Env env, QuantizeResult& result) { return to_js(env, result); });
  (*conversion)->add([job = *job, threads, pending] {
    auto pool = ThreadPool::make(threads);
    if (!pool) pending.settle(pool.error());
    else pending.settle(job->run(**pool, threads));
  });

  Napi::Object result = Napi::Object::New(env);
  result.Set("result", pending.promise());
  result.Set("valuesDone", Napi::Function::New(env, [job = *job](const Napi::CallbackInfo& info) -> Napi::Value {
               return Napi::Number::New(info.Env(), static_cast<double>(job->values_done()));
             }, "valuesDone"));
  result.Set("cancel", Napi::Function::New(env, [job = *job](const Napi::CallbackInfo&) { job->cancel(); }, "cancel"));
  return result;
}

}  // namespace infernode
