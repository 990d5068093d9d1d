// Tensors for JavaScript: storages are objects that V8 counts and collects; ops get views of them and give new storages.
#include "napi/tensor_binding.h"

#include "cpu/cpu_features.h"
#include "cpu/dispatch.h"
#include "napi/arguments.h"
#include "napi/environment.h"
#include "napi/promise.h"
#include "tensor/call.h"

namespace infernode {

namespace {

using namespace tensor;
using Storages = std::vector<std::shared_ptr<Storage>>;

constexpr napi_type_tag kStorageTag = {0x3f0c5a7712de4b90, 0x8ad1e6f0537c2b48};
constexpr double kMaxValues = 0x1p52;

// What a synchronous op may take: about a millisecond of one core's time.
constexpr double kSyncValues = 1 << 18;
constexpr double kSyncMultiplyAdds = 1 << 22;

// ---- storages

struct Holder {
  std::shared_ptr<Storage> storage;  // null once disposed

  void drop(napi_env env) {
    if (!storage) return;
    report(env, -1);
    storage = nullptr;
  }
  // Adopted memory is V8's own already.
  void report(napi_env env, int sign) const {
    int64_t total;
    if (!storage->adopted()) napi_adjust_external_memory(env, sign * static_cast<int64_t>(storage->bytes()), &total);
  }
};

Napi::Value wrap(Napi::Env env, std::shared_ptr<Storage> storage) {
  Napi::Object object = Napi::Object::New(env);
  if (object.IsEmpty()) return object;
  auto* holder = new Holder{std::move(storage)};
  const auto finalize = [](napi_env env, void* data, void*) {
    auto* holder = static_cast<Holder*>(data);
    holder->drop(env);
    delete holder;
  };
  if (napi_wrap(env, object, holder, finalize, nullptr, nullptr) != napi_ok) {
    delete holder;
    return env.Undefined();
  }
  holder->report(env, 1);
  napi_type_tag_object(env, object, &kStorageTag);
  return object;
}

Holder* holder_of(const Napi::Value& value) {
  bool tagged = false;
  void* data = nullptr;
  if (!value.IsObject() || napi_check_object_type_tag(value.Env(), value, &kStorageTag, &tagged) != napi_ok || !tagged)
    return nullptr;
  return napi_unwrap(value.Env(), value, &data) == napi_ok ? static_cast<Holder*>(data) : nullptr;
}

Error disposed() { return error(ErrorCode::kDisposed, {"tensor"}); }

Result<std::shared_ptr<Storage>> storage_of(const Napi::Value& value) {
  const Holder* holder = holder_of(value);
  if (!holder) return error(ErrorCode::kInvalidArgument, {"storage", "a storage", "something else"});
  if (!holder->storage) return disposed();
  return holder->storage;
}

Napi::Value to_js(Napi::Env env, const Storages& storages) {
  Napi::Array array = Napi::Array::New(env, storages.size());
  for (uint32_t i = 0; i < storages.size(); i++) array.Set(i, wrap(env, storages[i]));
  return array;
}

// ---- arguments

std::vector<double> numbers(Arguments& arguments, const Napi::Value& value, const char* name, size_t limit) {
  std::vector<double> found;
  if (!value.IsArray() || value.As<Napi::Array>().Length() > limit) {
    arguments.whole_value(value.Env().Undefined(), name, 0, 0);  // words the mistake
    return found;
  }
  const Napi::Array array = value.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); i++) found.push_back(arguments.number(array.Get(i), name));
  return found;
}

void sizes(Arguments& arguments, const Napi::Value& value, const char* name, size_t* out, size_t& n) {
  n = 0;
  for (double x : numbers(arguments, value, name, kMaxRank)) {
    if (!(x >= 0 && x <= kMaxValues && x == std::floor(x)))
      arguments.whole_value(Napi::Number::New(value.Env(), -1), name, 0, kMaxValues);
    else
      out[n++] = static_cast<size_t>(x);
  }
}

// [storage, type's number, offset, shape, strides]
Result<View> view_of(Arguments& arguments, const Napi::Value& value) {
  View view;
  if (value.IsNull()) return view;
  if (!value.IsArray()) return error(ErrorCode::kInvalidArgument, {"view", "an array", "something else"});
  const Napi::Array parts = value.As<Napi::Array>();
  INFERNODE_ASSIGN(storage, storage_of(parts.Get(uint32_t{0})));
  view.storage = storage;
  const auto type = arguments.whole_value(parts.Get(1), "type", 0, static_cast<double>(TensorType::kA8_32) - 1);
  view.type = static_cast<TensorType>(type);
  view.offset = static_cast<size_t>(arguments.whole_value(parts.Get(2), "offset", 0, kMaxValues));
  size_t n_strides;
  sizes(arguments, parts.Get(3), "shape", view.shape, view.rank);
  sizes(arguments, parts.Get(4), "strides", view.strides, n_strides);
  if (!arguments.status) return arguments.status.error();
  if (n_strides != view.rank || !within_storage(view))
    return error(ErrorCode::kInvalidArgument, {"view", "values within the storage", "values outside"});
  return view;
}

Result<Call> call_of(const Napi::CallbackInfo& info) {
  Arguments arguments;
  Call call;
  call.op = arguments.text(info[0], "op");
  if (!info[1].IsArray() || info[1].As<Napi::Array>().Length() > 8)
    return error(ErrorCode::kInvalidArgument, {"operands", "an array of views", "something else"});
  const Napi::Array operands = info[1].As<Napi::Array>();
  for (uint32_t i = 0; i < operands.Length(); i++) {
    INFERNODE_ASSIGN(view, view_of(arguments, operands.Get(i)));
    call.operands.push_back(view);
  }
  call.attributes = numbers(arguments, info[2], "attributes", size_t{1} << 20);
  if (!arguments.status) return arguments.status.error();
  return call;
}

// ---- methods

struct Tensors {
  const cpu::KernelTable* kernels;
};

// copy(bytes: Uint8Array): storage
Napi::Value copy(const Napi::CallbackInfo& info, const Tensors&) {
  if (!info[0].IsTypedArray())
    return throw_error(info, error(ErrorCode::kInvalidArgument, {"bytes", "a Uint8Array", "something else"}));
  const auto bytes = info[0].As<Napi::Uint8Array>();
  auto storage = Storage::make(bytes.ByteLength());
  if (!storage) return throw_error(info, storage.error());
  if (bytes.ByteLength() > 0) std::memcpy((*storage)->data(), bytes.Data(), bytes.ByteLength());
  return wrap(info.Env(), *storage);
}

// adopt(buffer: ArrayBuffer, offset, bytes): storage. Nobody else may have the buffer.
Napi::Value adopt(const Napi::CallbackInfo& info, const Tensors&) {
  Napi::Env env = info.Env();
  Arguments arguments;
  const auto offset = static_cast<size_t>(arguments.whole_value(info[1], "offset", 0, kMaxValues));
  const auto bytes = static_cast<size_t>(arguments.whole_value(info[2], "bytes", 0, kMaxValues));
  if (!arguments.status || !info[0].IsArrayBuffer() || offset + bytes > info[0].As<Napi::ArrayBuffer>().ByteLength())
    return throw_error(info, error(ErrorCode::kInvalidArgument, {"buffer", "an ArrayBuffer of that size", "something else"}));
  napi_ref reference = nullptr;
  if (napi_create_reference(env, info[0], 1, &reference) != napi_ok) return env.Undefined();
  auto* data = static_cast<std::byte*>(info[0].As<Napi::ArrayBuffer>().Data());
  // Whoever lets go last may be another thread; the reference belongs to this one. An isolate that ends drops its references
  // itself.
  const auto release = [mailbox = Environment::of(env).mailbox(), reference] {
    mailbox->post([reference](Napi::Env env) { napi_delete_reference(env, reference); });
  };
  return wrap(env, Storage::adopt(data ? data + offset : nullptr, bytes, release));
}

// zeros(bytes): storage
Napi::Value zeros(const Napi::CallbackInfo& info, const Tensors&) {
  Arguments arguments;
  const auto bytes = static_cast<size_t>(arguments.whole_value(info[0], "bytes", 0, kMaxValues));
  if (!arguments.status) return throw_error(info, arguments.status.error());
  auto storage = Storage::make(bytes, Storage::Contents::kZeros);
  if (!storage) return throw_error(info, storage.error());
  return wrap(info.Env(), *storage);
}

// Before and after a slice of a job that reads memory of this isolate's own.
void guard(Job& job, const std::shared_ptr<Gate>& gate) {
  for (const auto& input : job.inputs())
    if (input->adopted()) {
      job.enter = [gate] { return gate->enter(); };
      job.leave = [gate] { gate->leave(); };
      return;
    }
}

// create(type's number, shape, fill, first, second, seed): storage, which is filled later where that takes long.
Napi::Value create(const Napi::CallbackInfo& info, const Tensors& tensors) {
  Arguments arguments;
  size_t shape[kMaxRank], rank;
  const auto type = static_cast<TensorType>(arguments.whole_value(info[0], "type", 0, static_cast<double>(TensorType::kBool)));
  sizes(arguments, info[1], "shape", shape, rank);
  const auto fill = static_cast<Fill>(arguments.whole_value(info[2], "fill", 0, 3));
  const double first = arguments.number(info[3], "first"), second = arguments.number(info[4], "second");
  const auto seed = static_cast<uint64_t>(arguments.whole_value(info[5], "seed", 0, kMaxValues * 2));
  if (!arguments.status) return throw_error(info, arguments.status.error());
  auto runtime = Environment::of(info.Env()).runtime();
  if (!runtime) return throw_error(info, runtime.error());
  auto job = std::make_shared<Job>(static_cast<size_t>((*runtime)->default_threads()));
  auto view = tensor::create({*tensors.kernels, job}, type, shape, rank, fill, first, second, seed);
  if (!view) return throw_error(info, view.error());
  if (job->values() <= kSyncValues) {
    if (Status status = job->run_here(); !status) return throw_error(info, status.error());
  } else {
    view->storage->producer = job;
    (*runtime)->add(std::shared_ptr<SlicedWork>(job));
  }
  return wrap(info.Env(), view->storage);
}

// run(op, operands, attributes): { result: Promise<storage[]>, cancel() }
Napi::Value run(const Napi::CallbackInfo& info, const Tensors& tensors) {
  Napi::Env env = info.Env();
  auto call = call_of(info);
  if (!call) return throw_error(info, call.error());
  Environment& environment = Environment::of(env);
  auto runtime = environment.runtime();
  if (!runtime) return throw_error(info, runtime.error());
  auto job = std::make_shared<Job>(static_cast<size_t>((*runtime)->default_threads()));
  auto results = add_call({*tensors.kernels, job}, *call);
  if (!results) return throw_error(info, results.error());
  guard(*job, environment.gate());
  Pending<Storages> pending(env, [](Napi::Env env, Storages& storages) { return to_js(env, storages); });
  job->done = [pending, outputs = job->outputs()](Status status) {
    if (status)
      pending.settle(outputs);
    else
      pending.settle(status.error());
  };
  Napi::Object started = Napi::Object::New(env);
  started.Set("result", pending.promise());
  started.Set("cancel", Napi::Function::New(
                            env,
                            [weak = std::weak_ptr<Job>(job)](const Napi::CallbackInfo&) {
                              if (auto job = weak.lock()) job->cancel();
                            },
                            "cancel"));
  (*runtime)->add(std::shared_ptr<SlicedWork>(std::move(job)));
  return started;
}

// runSync(op, operands, attributes): storage[]
Napi::Value run_sync(const Napi::CallbackInfo& info, const Tensors& tensors) {
  auto call = call_of(info);
  if (!call) return throw_error(info, call.error());
  for (const View& operand : call->operands)
    if (operand.storage && operand.storage->producer && !operand.storage->producer->finished())
      return throw_error(info, error(ErrorCode::kTensorPending, {call->op}));
  auto job = std::make_shared<Job>(1);
  auto results = add_call({*tensors.kernels, job}, *call);
  if (!results) return throw_error(info, results.error());
  if (job->values() > kSyncValues || job->multiply_adds() > kSyncMultiplyAdds) {
    const auto whole = [](double x) { return std::to_string(static_cast<uint64_t>(x)); };
    return throw_error(info, error(ErrorCode::kTooLargeForSync, {call->op, whole(job->values()), whole(job->multiply_adds()),
                                                                 whole(kSyncValues), whole(kSyncMultiplyAdds)}));
  }
  if (Status status = job->run_here(); !status) return throw_error(info, status.error());
  return to_js(info.Env(), job->outputs());
}

// read(storage, offset, into: Uint8Array): copies bytes; false if the storage is still being filled.
Napi::Value read(const Napi::CallbackInfo& info, const Tensors&) {
  Arguments arguments;
  const auto offset = static_cast<size_t>(arguments.whole_value(info[1], "offset", 0, kMaxValues));
  auto storage = storage_of(info[0]);
  if (!storage) return throw_error(info, storage.error());
  if (!arguments.status) return throw_error(info, arguments.status.error());
  if (!info[2].IsTypedArray())
    return throw_error(info, error(ErrorCode::kInvalidArgument, {"into", "a Uint8Array", "something else"}));
  auto into = info[2].As<Napi::Uint8Array>();
  const size_t bytes = into.ByteLength();
  if (offset > (*storage)->bytes() || bytes > (*storage)->bytes() - offset)
    return throw_error(info,
                       error(ErrorCode::kInvalidArgument, {"into", "at most the storage's bytes", std::to_string(bytes)}));
  if ((*storage)->producer) {
    if (!(*storage)->producer->finished()) return Napi::Boolean::New(info.Env(), false);
    if (const Status& status = (*storage)->producer->outcome(); !status) return throw_error(info, status.error());
  }
  if (bytes > 0) std::memcpy(into.Data(), (*storage)->data() + offset, bytes);
  return Napi::Boolean::New(info.Env(), true);
}

// dispose(storage)
Napi::Value dispose(const Napi::CallbackInfo& info, const Tensors&) {
  if (Holder* holder = holder_of(info[0])) holder->drop(info.Env());
  return info.Env().Undefined();
}

}  // namespace

Napi::Value create_tensors(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments;
  const std::string isa = arguments.text(info[0], "isa");
  if (!arguments.status) return throw_error(info, arguments.status.error());
  auto kernels = cpu::choose_kernels(cpu::CpuFeatures::detect(), isa);
  if (!kernels) return throw_error(info, kernels.error());
  const Tensors tensors{*kernels};
  Napi::Object object = Napi::Object::New(env);
  const auto method = [&](const char* name, Napi::Value (*call)(const Napi::CallbackInfo&, const Tensors&)) {
    object.Set(name, Napi::Function::New(
                         env, [tensors, call](const Napi::CallbackInfo& info) { return call(info, tensors); }, name));
  };
  object.Set("isa", tensors.kernels->isa);
  method("copy", copy);
  method("adopt", adopt);
  method("zeros", zeros);
  method("create", create);
  method("run", run);
  method("runSync", run_sync);
  method("read", read);
  method("dispose", dispose);
  return object;
}

}  // namespace infernode
