// The addon's exports (NativeAddon in src/native.ts).
#include <napi.h>

#include <chrono>
#include <span>

#include "cpu/cpu_features.h"
#include "cpu/dispatch.h"
#include "machine.h"
#include "napi/arguments.h"
#include "napi/engine_binding.h"
#include "napi/environment.h"
#include "napi/promise.h"
#include "napi/quantize_binding.h"
#include "napi/tensor_binding.h"
#include "napi/tokenizer_binding.h"
#include "pages.h"

namespace infernode {

namespace {

#ifndef INFERNODE_VERSION
#define INFERNODE_VERSION "0.0.0"
#endif

// info({ threads, isa }?): RuntimeInfo
Napi::Value get_info(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments;
  int threads = 0;
  std::string isa;
  if (info[0].IsObject()) {
    const auto options = info[0].As<Napi::Object>();
    if (options.Has("threads")) threads = static_cast<int>(arguments.whole(options, "threads", 0, 1024));
    if (options.Has("isa")) isa = arguments.text(options.Get("isa"), "isa");
  }
  if (!arguments.status) return throw_error(info, arguments.status.error());
  const cpu::CpuFeatures features = cpu::CpuFeatures::detect();
  auto kernels = cpu::choose_kernels(features, isa);
  if (!kernels) return throw_error(info, kernels.error());
  const ThreadCount count = choose_threads(threads);

  const auto list = [&](const std::vector<std::string>& names) {
    Napi::Array array = Napi::Array::New(env, names.size());
    for (uint32_t i = 0; i < names.size(); i++) array.Set(i, names[i]);
    return array;
  };
  Napi::Object result = Napi::Object::New(env);
  result.Set("version", INFERNODE_VERSION);
  result.Set("isa", (*kernels)->isa);
  result.Set("isas", list(cpu::available_isas(features)));
  result.Set("cpuFeatures", list(features.names()));
  result.Set("threads", count.threads);
  result.Set("threadsReason", count.reason);
  result.Set("cpuModel", features.model);
  return result;
}

enum class Probe { kRead, kInt8, kBf16, kF32 };

struct Measured {
  double read_bytes_per_second = 0, int8_macs_per_second = 0, bf16_macs_per_second = 0, f32_macs_per_second = 0;
};

// The best round counts, as a neighbour can only slow one down; small pieces, so that a thread that comes late costs little.
Measured measure_machine(const cpu::KernelTable& kernels, std::span<const std::byte> data, double seconds, int threads, ThreadPool& pool) {
  using Clock = std::chrono::steady_clock;
  constexpr uint64_t kMacs = uint64_t{1} << 24;
  struct Round {
    const cpu::KernelTable& kernels;
    std::span<const std::byte> data;
    size_t n_pieces;
    Probe probe;
    std::atomic<uint64_t> sink{0};
  };
  Measured best;
  for (const Probe probe : {Probe::kRead, Probe::kInt8, Probe::kBf16, Probe::kF32}) {
    Round round{kernels, data, static_cast<size_t>(threads) * 16, probe};
    const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds / 4));
    do {
      const auto begin = Clock::now();
      const ThreadPool::Section pieces{round.n_pieces, 1};
      pool.run(
          threads, &pieces, 1,
          [](void* context, size_t, size_t first, size_t last, int) {
            Round& r = *static_cast<Round*>(context);
            const size_t bytes = r.data.size() / r.n_pieces & ~size_t{63};
            for (size_t i = first; i < last; i++)
              r.sink += r.probe == Probe::kRead   ? r.kernels.read_probe(r.data.data() + bytes * i, bytes)
                        : r.probe == Probe::kInt8 ? r.kernels.int8_probe(kMacs)
                        : r.probe == Probe::kBf16 ? r.kernels.bf16_probe(kMacs)
                                                  : static_cast<uint64_t>(r.kernels.tensor.f32_probe(kMacs));
          },
          &round);
      const double elapsed = std::chrono::duration<double>(Clock::now() - begin).count();
      const double macs = static_cast<double>(kMacs * round.n_pieces) / elapsed;
      if (probe == Probe::kRead) best.read_bytes_per_second = std::max(best.read_bytes_per_second, static_cast<double>(data.size()) / elapsed);
      else if (probe == Probe::kInt8) best.int8_macs_per_second = std::max(best.int8_macs_per_second, macs);
      else if (probe == Probe::kBf16) best.bf16_macs_per_second = std::max(best.bf16_macs_per_second, macs);
      else best.f32_macs_per_second = std::max(best.f32_macs_per_second, macs);
    } while (Clock::now() < end);
  }
  return best;
}

// measure({ threads, isa, milliseconds, file }): Promise<{ readBytesPerSecond, int8MacsPerSecond, bf16MacsPerSecond,
// f32MacsPerSecond }>
Napi::Value measure(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments;
  int threads = static_cast<int>(arguments.whole(info[0], "threads", 0, 1024));
  const std::string isa = arguments.text(info[0], "isa", 0);
  const double milliseconds = arguments.number(info[0], "milliseconds", 1, 60000);
  const std::string file = arguments.text(info[0], "file", 0);
  if (!arguments.status) return rejected(env, arguments.status.error());
  auto kernels = cpu::choose_kernels(cpu::CpuFeatures::detect(), isa);
  if (!kernels) return rejected(env, kernels.error());
  auto runtime = Environment::of(env).runtime();
  if (!runtime) return rejected(env, runtime.error());
  if (threads == 0) threads = (*runtime)->default_threads();
  // A file is read as its mapping lies in memory: on some machines that is twice as fast in one place as in another. Otherwise far
  // more than any last-level cache share, in ordinary pages.
  std::shared_ptr<const Mapping> mapping;
  std::shared_ptr<Pages> pages;
  if (file.empty()) {
    auto made = Pages::make(size_t{512} << 20, "measuring");
    if (!made) return rejected(env, made.error());
    pages = std::make_shared<Pages>(std::move(*made));
  } else {
    auto opened = (*runtime)->mappings().open(file, 0, true);
    if (!opened) return rejected(env, opened.error());
    mapping = *opened;
  }
  Pending<Measured> pending(env, [](Napi::Env env, Measured& measured) -> Napi::Value {
    Napi::Object result = Napi::Object::New(env);
    result.Set("readBytesPerSecond", measured.read_bytes_per_second);
    result.Set("int8MacsPerSecond", measured.int8_macs_per_second);
    result.Set("bf16MacsPerSecond", measured.bf16_macs_per_second);
    result.Set("f32MacsPerSecond", measured.f32_macs_per_second);
    return result;
  });
  (*runtime)->on_driver(threads, [kernels = *kernels, mapping, pages, milliseconds, threads, pending](ThreadPool& pool) {
    for (size_t i = 0; pages && i < pages->size(); i += 4096) pages->data()[i] = std::byte(i >> 12);  // so that pages are real
    const auto data = mapping ? std::span(mapping->data(), mapping->size()) : std::span<const std::byte>(pages->data(), pages->size());
    pending.settle(measure_machine(*kernels, data, milliseconds / 1000, std::min(threads, pool.size()), pool));
  });
  return pending.promise();
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Environment(env));
  exports.Set("info", Napi::Function::New(env, get_info, "info"));
  exports.Set("measure", Napi::Function::New(env, measure, "measure"));
  exports.Set("tokenizerJsonSkeleton", Napi::Function::New(env, tokenizer_json_skeleton_of, "tokenizerJsonSkeleton"));
  exports.Set("createTokenizer", Napi::Function::New(env, create_tokenizer, "createTokenizer"));
  exports.Set("encodableTypes", Napi::Function::New(env, encodable_types, "encodableTypes"));
  exports.Set("quantizeTensor", Napi::Function::New(env, quantize_tensor, "quantizeTensor"));
  exports.Set("createTensors", Napi::Function::New(env, create_tensors, "createTensors"));
  exports.Set("createEngine", Napi::Function::New(env, create_engine, "createEngine"));
  return exports;
}

}  // namespace

}  // namespace infernode

static Napi::Object infernode_init(Napi::Env env, Napi::Object exports) { return infernode::init(env, exports); }
NODE_API_MODULE(infernode, infernode_init)
