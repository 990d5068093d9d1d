// Engines for JavaScript: requests go down as plain data, events come up through the isolate's mailbox.
#include "napi/engine_binding.h"

#include <cstring>
#include <map>

#include "engine.h"
#include "napi/arguments.h"
#include "napi/environment.h"
#include "napi/profile_to_js.h"
#include "napi/promise.h"
#include "napi/tokenizer_binding.h"

namespace infernode {

namespace {

// A request that has not ended: `n` sequences with ids in a row.
struct Unfinished {
  std::shared_ptr<std::atomic<bool>> cancelled;
  uint64_t n, n_left;
};

// Who has handles on engines, for fairness between them: an isolate may have many.
uint64_t next_caller() {
  static std::atomic<uint64_t> callers{0};
  return callers.fetch_add(1);
}

// What the methods of one NativeEngine share. When the last of them is collected, the engine closes.
struct Handle {
  std::shared_ptr<Engine> engine;
  Runtime* runtime;  // alive while the isolate is
  int64_t reported_bytes = 0;
  uint64_t caller = next_caller();
  std::map<uint64_t, Unfinished> unfinished;  // by the first sequence's id

  ~Handle() { engine->close(); }

  void end_of(uint64_t request) {
    const auto found = unfinished.find(request);
    if (found != unfinished.end() && --found->second.n_left == 0) unfinished.erase(found);
  }

  // Memory that V8 cannot see but that goes when the model is collected: cache pages in use, scratch. Mapped files are not ours.
  void report(Napi::Env env) {
    const EngineStats stats = engine->stats();
    set_reported(env, static_cast<int64_t>(stats.kv_used_bytes + stats.memory.scratch_bytes));
  }
  void set_reported(Napi::Env env, int64_t bytes) {
    Napi::MemoryManagement::AdjustExternalMemory(env, bytes - reported_bytes);
    reported_bytes = bytes;
  }
};
using SharedHandle = std::shared_ptr<Handle>;

Napi::Value to_js(Napi::Env env, const TokenEvent& event) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("text", event.text);
  object.Set("token", event.token);
  if (event.has_logprob) {
    object.Set("logprob", event.logprob);
    Napi::Array top = Napi::Array::New(env, event.top.size());
    for (uint32_t i = 0; i < event.top.size(); i++) {
      Napi::Object entry = Napi::Object::New(env);
      entry.Set("token", event.top[i].first);
      entry.Set("logprob", event.top[i].second);
      top.Set(i, entry);
    }
    object.Set("top", top);
  }
  if (event.echo) object.Set("echo", true);
  return object;
}

Napi::Value to_js(Napi::Env env, const RequestResult& result, const std::vector<std::string>& stop) {
  static constexpr const char* kReasons[] = {"stop", "length", "aborted"};
  Napi::Object object = Napi::Object::New(env);
  object.Set("finishReason", kReasons[static_cast<size_t>(result.finish_reason)]);
  if (result.stop_string >= 0) object.Set("stopReason", stop[static_cast<size_t>(result.stop_string)]);
  else if (result.stop_token >= 0) object.Set("stopReason", result.stop_token);
  else object.Set("stopReason", env.Null());
  object.Set("promptTokens", static_cast<double>(result.prompt_tokens));
  object.Set("generatedTokens", static_cast<double>(result.generated_tokens));
  object.Set("cachedTokens", static_cast<double>(result.cached_tokens));
  object.Set("queuedMs", result.queued_ms);
  object.Set("promptMs", result.prompt_ms);
  object.Set("generationMs", result.generation_ms);
  return object;
}

// Carries a request's events to its JavaScript callback.
class CallbackSink final : public RequestSink, public std::enable_shared_from_this<CallbackSink> {
 public:
  CallbackSink(Napi::Env env, Napi::Function callback, std::weak_ptr<Handle> handle, uint64_t request, uint32_t sample,
               std::vector<std::string> stop)
      : callback_(std::make_shared<Napi::FunctionReference>(Napi::Persistent(callback))),
        mailbox_(Environment::of(env).mailbox()),
        handle_(std::move(handle)),
        request_(request),
        sample_(sample),
        stop_(std::move(stop)) {
    mailbox_->expect_answer(env);
  }

  // Still set: the isolate is gone, or going, and frees its references itself. This may be another thread.
  ~CallbackSink() override {
    if (callback_) callback_->SuppressDestruct();
  }

  void deliver(RequestEvents&& events) override {
    auto shared = std::make_shared<RequestEvents>(std::move(events));
    mailbox_->post([self = shared_from_this(), shared](Napi::Env env) { self->call(env, *shared); });
  }

 private:
  void call(Napi::Env env, const RequestEvents& events) {
    Napi::Object object = Napi::Object::New(env);
    Napi::Array tokens = Napi::Array::New(env, events.tokens.size());
    for (uint32_t i = 0; i < events.tokens.size(); i++) tokens.Set(i, to_js(env, events.tokens[i]));
    object.Set("sample", sample_);
    object.Set("tokens", tokens);
    if (!events.tail.empty()) object.Set("tail", events.tail);
    if (events.done) object.Set("done", to_js(env, *events.done, stop_));
    if (events.error) object.Set("error", infernode::to_js(env, *events.error));
    const auto callback = callback_;
    if (events.done || events.error) {
      if (auto handle = handle_.lock()) {
        handle->end_of(request_);
        handle->report(env);
      }
      mailbox_->got_answer(env);
      callback_.reset();
    }
    if (callback) callback->Call({object});
  }

  std::shared_ptr<Napi::FunctionReference> callback_;
  std::shared_ptr<Mailbox> mailbox_;
  std::weak_ptr<Handle> handle_;
  uint64_t request_;
  uint32_t sample_;
  std::vector<std::string> stop_;
};

// priority, timeoutMs and caller of a request; the clock runs from now on.
Terms read_terms(const Napi::Value& object, const Handle& handle, Arguments& arguments) {
  Terms terms;
  terms.priority = static_cast<int32_t>(arguments.whole(object, "priority", -1000, 1000));
  terms.timeout_ms = static_cast<uint32_t>(arguments.whole(object, "timeoutMs", 0, UINT32_MAX));
  if (terms.timeout_ms) terms.deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(terms.timeout_ms);
  const std::string caller = arguments.text(object, "caller", 0);
  terms.caller = caller.empty() ? handle.caller : std::hash<std::string>{}(caller) | uint64_t{1} << 63;
  return terms;
}

RequestOptions read_request(const Napi::Value& object, size_t max_prompt, Arguments& arguments) {
  constexpr double kLargest = 1e30;
  RequestOptions request;
  const Napi::Value prompt = arguments.get(object, "prompt");
  request.is_text = prompt.IsString();
  if (request.is_text) request.text = arguments.text(prompt, "prompt");
  else request.ids = arguments.ids(prompt, "prompt", max_prompt);
  request.add_special = arguments.boolean(object, "addSpecial");
  request.parse_special = arguments.boolean(object, "parseSpecial");
  request.echo = arguments.boolean(object, "echo");
  request.max_tokens = static_cast<uint32_t>(arguments.whole(object, "maxTokens", 0, INT32_MAX));
  request.max_tokens_asked = arguments.boolean(object, "maxTokensAsked");
  request.replay = static_cast<uint32_t>(arguments.whole(object, "replay", 0, INT32_MAX));
  SamplingOptions& sampling = request.sampling;
  sampling.temperature = static_cast<float>(arguments.number(object, "temperature", 0, kLargest));
  sampling.top_k = static_cast<int32_t>(arguments.whole(object, "topK", 0, INT32_MAX));
  sampling.top_p = static_cast<float>(arguments.number(object, "topP", 0, 1));
  sampling.min_p = static_cast<float>(arguments.number(object, "minP", 0, 1));
  sampling.typical_p = static_cast<float>(arguments.number(object, "typicalP", 0, 1));
  sampling.repetition_penalty = static_cast<float>(arguments.number(object, "repetitionPenalty", 0, kLargest));
  sampling.presence_penalty = static_cast<float>(arguments.number(object, "presencePenalty", -kLargest, kLargest));
  sampling.frequency_penalty = static_cast<float>(arguments.number(object, "frequencyPenalty", -kLargest, kLargest));
  sampling.penalty_window = static_cast<uint32_t>(arguments.whole(object, "penaltyWindow", 0, UINT32_MAX));
  sampling.seed = static_cast<uint64_t>(arguments.whole(object, "seed", 0, 9007199254740991.0));
  sampling.logprobs = static_cast<int32_t>(arguments.whole(object, "logprobs", -1, 1 << 20));
  if (const Napi::Value bias = arguments.get(object, "logitBias"); bias.IsArray())
    for (uint32_t i = 0; i < bias.As<Napi::Array>().Length(); i++) {
      const Napi::Value entry = bias.As<Napi::Array>().Get(i);
      const auto id = static_cast<int32_t>(arguments.whole(entry, "id", 0, INT32_MAX));
      sampling.logit_bias.emplace_back(id, static_cast<float>(arguments.number(arguments.get(entry, "bias"), "logitBias")));
    }
  if (const Napi::Value stop = arguments.get(object, "stop"); stop.IsArray())
    for (uint32_t i = 0; i < stop.As<Napi::Array>().Length(); i++)
      request.stop.push_back(arguments.text(stop.As<Napi::Array>().Get(i), "stop"));
  if (const Napi::Value tokens = arguments.get(object, "stopTokens"); tokens.IsArray())
    for (uint32_t i = 0; i < tokens.As<Napi::Array>().Length(); i++)
      request.stop_tokens.push_back(static_cast<int32_t>(arguments.whole_value(tokens.As<Napi::Array>().Get(i), "stopTokens", 0, INT32_MAX)));
  return request;
}

// The prompt's ids, on the service thread.
Status encode_prompt(const Engine& engine, RequestOptions& request, std::vector<int32_t>& prompt) {
  prompt = std::move(request.ids);
  if (!request.is_text) return {};
  Encoding encoding;
  EncodeOptions options;
  options.add_special = request.add_special;
  options.parse_special = request.parse_special;
  INFERNODE_TRY(engine.tokenizer()->encode(request.text, options, encoding));
  prompt = std::move(encoding.ids);
  return {};
}

// submit(request, onEvents): number
Napi::Value submit(const Napi::CallbackInfo& info, const SharedHandle& handle) {
  Napi::Env env = info.Env();
  Arguments arguments;
  auto request = std::make_shared<RequestOptions>(read_request(info[0], handle->engine->context_length(), arguments));
  request->terms = read_terms(info[0], *handle, arguments);
  const auto n = static_cast<uint32_t>(arguments.whole(info[0], "n", 1, 1024));
  const auto first_sample = static_cast<uint32_t>(arguments.whole(info[0], "firstSample", 0, 1024));
  if (!arguments.status) return throw_error(info, arguments.status.error());
  if (!info[1].IsFunction()) return throw_error(info, error(ErrorCode::kInvalidArgument, {"onEvents", "a function", "something else"}));
  if (request->is_text && !handle->engine->tokenizer()) return throw_error(info, error(ErrorCode::kTokenizerMissing, {"The checkpoint"}));

  const uint64_t id = handle->engine->new_id(n);
  auto cancelled = std::make_shared<std::atomic<bool>>(false);
  handle->unfinished[id] = {cancelled, n, n};
  std::vector<std::shared_ptr<CallbackSink>> sinks;
  for (uint32_t i = 0; i < n; i++)
    sinks.push_back(std::make_shared<CallbackSink>(env, info[1].As<Napi::Function>(), handle, id, first_sample + i, request->stop));
  handle->runtime->requests().add([engine = handle->engine, id, first_sample, request, sinks = std::move(sinks), cancelled] {
    std::vector<int32_t> prompt;
    const Status encoded = encode_prompt(*engine, *request, prompt);
    // One sequence per sample; the scheduler has them share the prompt.
    for (uint32_t i = 0; i < sinks.size(); i++) {
      request->sampling.sample = first_sample + i;
      const Status status = encoded ? engine->submit(id + i, prompt, *request, sinks[i], cancelled) : encoded;
      if (status) continue;
      RequestEvents events;
      events.error = status.error();
      sinks[i]->deliver(std::move(events));
    }
  });
  return Napi::Number::New(env, static_cast<double>(id));
}

void cancel_request(const SharedHandle& handle, uint64_t id) {
  const auto found = handle->unfinished.find(id);
  if (found == handle->unfinished.end()) return;
  found->second.cancelled->store(true);
  for (uint64_t i = 0; i < found->second.n; i++) handle->engine->cancel(id + i);
}

// cancel(request: number): void
Napi::Value cancel(const Napi::CallbackInfo& info, const SharedHandle& handle) {
  Arguments arguments;
  const double id = arguments.number(info[0], "request");
  if (!arguments.status) return throw_error(info, arguments.status.error());
  if (id > 0 && id < 9e15) cancel_request(handle, static_cast<uint64_t>(id));
  return info.Env().Undefined();
}

class PromiseScoreSink final : public ScoreSink {
 public:
  PromiseScoreSink(Pending<std::vector<float>> pending, std::function<void()> end) : pending_(std::move(pending)), end_(std::move(end)) {}
  void deliver(Result<std::vector<float>>&& logprobs) override {
    end_();
    pending_.settle(std::move(logprobs));
  }

 private:
  Pending<std::vector<float>> pending_;
  std::function<void()> end_;  // also where it failed or was cancelled
};

// score(ids: Int32Array, terms: { priority, timeoutMs, caller }): { request: number, result: Promise<Float32Array> }
Napi::Value score(const Napi::CallbackInfo& info, const SharedHandle& handle) {
  Napi::Env env = info.Env();
  Arguments arguments;
  std::vector<int32_t> ids = arguments.ids(info[0], "ids", handle->engine->context_length());
  const Terms terms = read_terms(info[1], *handle, arguments);
  if (!arguments.status) return throw_error(info, arguments.status.error());
  const uint64_t id = handle->engine->new_id();
  auto cancelled = std::make_shared<std::atomic<bool>>(false);
  handle->unfinished[id] = {cancelled, 1, 1};
  Pending<std::vector<float>> pending(env, [](Napi::Env env, std::vector<float>& logprobs) -> Napi::Value {
    return copy_to_js<Napi::Float32Array>(env, logprobs.data(), logprobs.size());
  });
  const auto end = [mailbox = Environment::of(env).mailbox(), weak = std::weak_ptr<Handle>(handle), id] {
    mailbox->post([weak, id](Napi::Env env) {
      const SharedHandle alive = weak.lock();
      if (!alive) return;
      alive->end_of(id);
      alive->report(env);
    });
  };
  auto sink = std::make_shared<PromiseScoreSink>(pending, end);
  handle->runtime->requests().add([engine = handle->engine, id, ids = std::move(ids), sink, cancelled, terms] {
    if (Status status = engine->score(id, ids, sink, cancelled, terms); !status) sink->deliver(status.error());
  });
  Napi::Object result = Napi::Object::New(env);
  result.Set("request", static_cast<double>(id));
  result.Set("result", pending.promise());
  return result;
}

using NamedOutputs = std::vector<NamedRows>;

// evaluate(batch, inputs?): Promise<Record<string, Float32Array>>
Napi::Value evaluate(const Napi::CallbackInfo& info, const SharedHandle& handle) {
  Napi::Env env = info.Env();
  Arguments arguments;
  std::vector<EvaluatePart> parts;
  if (!info[0].IsArray()) return rejected(env, error(ErrorCode::kInvalidArgument, {"batch", "an array", "something else"}));
  const auto batch = info[0].As<Napi::Array>();
  for (uint32_t i = 0; i < batch.Length(); i++) {
    const Napi::Value entry = batch.Get(i);
    const int64_t sequence = arguments.whole(entry, "sequence", 0, 9e15);
    parts.push_back({sequence, arguments.ids(arguments.get(entry, "tokens"), "tokens", handle->engine->options().batch_tokens)});
    if (const Napi::Value longest = arguments.get(entry, "longest"); !longest.IsUndefined())
      parts.back().longest = static_cast<size_t>(arguments.whole_value(longest, "longest", 0, 9e15));
  }
  auto inputs = std::make_shared<std::map<std::string, Array<float>>>();
  if (info[1].IsObject()) {
    const auto object = info[1].As<Napi::Object>();
    const Napi::Array names = object.GetPropertyNames();
    for (uint32_t i = 0; i < names.Length(); i++) {
      const std::string name = arguments.text(names.Get(i), "inputs");
      const Napi::Value value = object.Get(name);
      if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_float32_array)
        return rejected(env, error(ErrorCode::kInvalidArgument, {"inputs." + name, "a Float32Array", "something else"}));
      const auto array = value.As<Napi::Float32Array>();
      auto copy = Array<float>::make(array.ElementLength(), "an input");
      if (!copy) return rejected(env, copy.error());
      if (copy->size()) std::memcpy(copy->data(), array.Data(), copy->size() * sizeof(float));
      inputs->emplace(name, std::move(*copy));
    }
  }
  if (!arguments.status) return rejected(env, arguments.status.error());
  Pending<NamedOutputs> pending(env, [](Napi::Env env, NamedOutputs& outputs) -> Napi::Value {
    Napi::Object object = Napi::Object::New(env);
    for (NamedRows& rows : outputs)
      object.Set(rows.name, copy_to_js<Napi::Float32Array>(env, rows.data.data(), rows.data.size()));
    return object;
  });
  handle->runtime->on_driver(handle->engine->most_threads(),
                             [engine = handle->engine, parts = std::move(parts), inputs, pending](ThreadPool& pool) {
                               pending.settle(engine->evaluate(parts, *inputs, pool));
                             });
  return pending.promise();
}

// forget(sequence: number): void
Napi::Value forget(const Napi::CallbackInfo& info, const SharedHandle& handle) {
  Arguments arguments;
  const int64_t sequence = arguments.whole_value(info[0], "sequence", 0, 9e15);
  if (!arguments.status) return throw_error(info, arguments.status.error());
  handle->runtime->on_driver(1, [engine = handle->engine, sequence](ThreadPool&) { engine->forget(sequence); });
  return info.Env().Undefined();
}

Napi::Value to_js(Napi::Env env, const Percentiles& percentiles) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("count", static_cast<double>(percentiles.count));
  object.Set("p50", percentiles.p50);
  object.Set("p90", percentiles.p90);
  object.Set("p99", percentiles.p99);
  return object;
}

Napi::Value stats(const Napi::CallbackInfo& info, const SharedHandle& handle) {
  const EngineStats stats = handle->engine->stats();
  Napi::Object object = Napi::Object::New(info.Env());
  const auto set = [&](const char* name, auto value) { object.Set(name, static_cast<double>(value)); };
  set("weightsBytes", stats.memory.weights_bytes);
  set("kvBytes", stats.memory.kv_bytes);
  set("kvBytesUsed", stats.kv_used_bytes);
  set("scratchBytes", stats.memory.scratch_bytes);
  set("totalPages", stats.total_pages);
  set("freePages", stats.free_pages);
  set("usedPages", stats.total_pages - stats.free_pages);
  set("cachedPages", stats.kept_pages);
  set("sharedPages", stats.shared_pages);
  set("evictedPages", stats.evicted_pages);
  set("running", stats.running);
  set("waiting", stats.waiting);
  set("requests", stats.requests);
  set("preemptions", stats.preemptions);
  set("computedTokens", stats.computed_tokens);
  set("cachedTokens", stats.cached_tokens);
  set("generatedTokens", stats.generated_tokens);
  set("tokensPerSecond", stats.rates.generated);
  set("promptTokensPerSecond", stats.rates.prompt);
  set("steps", stats.steps);
  set("meanBatch", stats.mean_batch);
  set("largestBatch", stats.largest_batch);
  object.Set("firstTokenMs", to_js(info.Env(), stats.first_token));
  object.Set("tokenGapMs", to_js(info.Env(), stats.token_gap));
  return object;
}

// startProfile(maxEvents: number): Promise<void>
Napi::Value start_profile(const Napi::CallbackInfo& info, const SharedHandle& handle) {
  Arguments arguments;
  const int64_t max_events = arguments.whole_value(info[0], "maxEvents", 1, 1 << 26);
  if (!arguments.status) return rejected(info.Env(), arguments.status.error());
  Pending<bool> pending(info.Env(), [](Napi::Env env, bool&) -> Napi::Value { return env.Undefined(); });
  handle->runtime->on_driver(1, [engine = handle->engine, max_events, pending](ThreadPool&) {
    const Status status = engine->start_profile(static_cast<size_t>(max_events));
    pending.settle(status ? Result<bool>(true) : Result<bool>(status.error()));
  });
  return pending.promise();
}

// stopProfile(): Promise<NativeProfile | undefined>
Napi::Value stop_profile(const Napi::CallbackInfo& info, const SharedHandle& handle) {
  Pending<std::unique_ptr<Profile>> pending(info.Env(), [](Napi::Env env, std::unique_ptr<Profile>& profile) -> Napi::Value {
    return profile ? to_js(env, *profile) : env.Undefined();
  });
  handle->runtime->on_driver(1, [engine = handle->engine, pending](ThreadPool&) { pending.settle(engine->stop_profile()); });
  return pending.promise();
}

// watchSteps(onStep: (step) => void | null): void
Napi::Value watch_steps(const Napi::CallbackInfo& info, const SharedHandle& handle) {
  Napi::Env env = info.Env();
  if (!info[0].IsFunction()) {
    handle->engine->watch_steps(nullptr);
    return env.Undefined();
  }
  // Freed on the JavaScript thread only; where the isolate ends first, it frees its references itself.
  const auto callback = std::shared_ptr<Napi::FunctionReference>(
      new Napi::FunctionReference(Napi::Persistent(info[0].As<Napi::Function>())),
      [mailbox = Environment::of(env).mailbox()](Napi::FunctionReference* reference) {
        reference->SuppressDestruct();
        mailbox->post([reference](Napi::Env) {
          reference->Reset();
          delete reference;
        });
      });
  handle->engine->watch_steps([mailbox = Environment::of(env).mailbox(), callback](const StepReport& report) {
    mailbox->post([callback, report](Napi::Env env) {
      Napi::Object step = Napi::Object::New(env);
      step.Set("ms", report.ms);
      step.Set("sequences", static_cast<double>(report.sequences));
      step.Set("promptTokens", static_cast<double>(report.prompt_tokens));
      step.Set("generatedTokens", static_cast<double>(report.generated_tokens));
      step.Set("running", static_cast<double>(report.running));
      step.Set("waiting", static_cast<double>(report.waiting));
      callback->Call({step});
    });
  });
  return env.Undefined();
}

// dispose(): Promise<void>
Napi::Value dispose(const Napi::CallbackInfo& info, const SharedHandle& handle) {
  Pending<bool> pending(info.Env(), [handle](Napi::Env env, bool&) -> Napi::Value {
    handle->set_reported(env, 0);
    return env.Undefined();
  });
  handle->engine->close([pending] { pending.settle(true); });
  return pending.promise();
}

Napi::Value wrap(Napi::Env env, const SharedHandle& handle) {
  const std::shared_ptr<Engine>& engine = handle->engine;
  Environment::of(env).own(engine);
  handle->report(env);
  Napi::Object object = Napi::Object::New(env);
  const auto method = [&](const char* name, Napi::Value (*call)(const Napi::CallbackInfo&, const SharedHandle&)) {
    object.Set(name, Napi::Function::New(env, [handle, call](const Napi::CallbackInfo& info) { return call(info, handle); }, name));
  };
  object.Set("isa", engine->isa());
  object.Set("backend", engine->backend_name());
  object.Set("threads", engine->options().threads);
  object.Set("contextLength", static_cast<double>(engine->context_length()));
  method("submit", submit);
  method("cancel", cancel);
  method("score", score);
  method("evaluate", evaluate);
  method("forget", forget);
  method("stats", stats);
  method("startProfile", start_profile);
  method("stopProfile", stop_profile);
  method("watchSteps", watch_steps);
  method("dispose", dispose);
  return object;
}

TensorType kv_type(const std::string& name, Arguments& arguments) {
  for (TensorType type : {TensorType::kF32, TensorType::kF16, TensorType::kBf16, TensorType::kQ8_0})
    if (name == info(type).name) return type;
  if (arguments.status) arguments.status = error(ErrorCode::kInvalidArgument, {"kvType", "f32, f16, bf16 or q8_0", name});
  return TensorType::kF16;
}

}  // namespace

Napi::Value create_engine(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments;
  std::string json = arguments.text(info[0], "plan");
  std::shared_ptr<const Tokenizer> tokenizer = tokenizer_of(info[1]);
  EngineOptions options;
  options.threads = static_cast<int>(arguments.whole(info[2], "threads", 0, 1024));
  if (!arguments.get(info[2], "promptThreads").IsUndefined())
    options.prompt_threads = static_cast<int>(arguments.whole(info[2], "promptThreads", 0, 1024));
  options.cache_tokens = static_cast<size_t>(arguments.whole(info[2], "cacheTokens", 1, INT32_MAX));
  options.batch_tokens = static_cast<size_t>(arguments.whole(info[2], "batchTokens", 1, 1 << 16));
  options.max_queue = static_cast<size_t>(arguments.whole(info[2], "maxQueue", 0, INT32_MAX));
  options.kv_type = kv_type(arguments.text(info[2], "kvType", 0), arguments);
  options.isa = arguments.text(info[2], "isa", 0);
  options.map_files = arguments.boolean(info[2], "mmap");
  if (info[2].IsObject() && info[2].As<Napi::Object>().Has("maxMemory"))
    options.max_memory = static_cast<uint64_t>(arguments.whole(info[2], "maxMemory", 1, 9007199254740991.0));
  if (!arguments.get(info[2], "keepPrefixes").IsUndefined()) options.keep_prefixes = arguments.boolean(info[2], "keepPrefixes");
  if (!arguments.status) return rejected(env, arguments.status.error());
  auto runtime = Environment::of(env).runtime();
  if (!runtime) return rejected(env, runtime.error());
  Runtime* shared = runtime->get();
  if (options.threads == 0) options.threads = shared->default_threads();

  // A handle from the start: if the isolate ends before it arrives, the engine closes.
  Pending<SharedHandle> pending(env, [](Napi::Env env, SharedHandle& handle) { return wrap(env, handle); });
  shared->loading().add([json = std::move(json), tokenizer, options, shared, pending] {
    auto plan = decode_plan(json);
    if (!plan) return pending.settle(plan.error());
    auto engine = Engine::make(std::make_shared<const Plan>(std::move(*plan)), tokenizer, options, shared->mappings(), shared->signal());
    if (!engine) return pending.settle(engine.error());
    auto handle = std::make_shared<Handle>();
    handle->engine = std::move(*engine);
    handle->runtime = shared;
    shared->add(handle->engine);
    pending.settle(std::move(handle));
  });
  return pending.promise();
}

}  // namespace infernode
