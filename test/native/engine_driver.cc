// Drives the engine from several threads without Node, for the thread sanitizer: requests, storms of cancellations, scores, steps by
// hand, profiles, engines that close in mid-work, isolates that come and go as workers do. Says what it did and ends with "1 passed, 0 failed"; or exits with 1.
// Usage: engine_driver PLAN.json (as `infernode inspect --plan --json` prints it)
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <sstream>
#include <thread>

#include "runtime.h"

using namespace infernode;

namespace {

[[noreturn]] void give_up(const std::string& what) {
  std::printf("%s\n0 passed, 1 failed\n", what.c_str());
  std::exit(1);
}

std::string text_of(const Error& error) {
  std::string text = kErrorNames[static_cast<size_t>(error.code)];
  for (const std::string& detail : error.details) text += " | " + detail;
  return text;
}

// Collects a request's tokens and lets a thread wait for its end.
class WaitingSink final : public RequestSink {
 public:
  void deliver(RequestEvents&& events) override {
    std::lock_guard lock(mutex_);
    if (ended_) give_up("a request was told its end twice");
    for (const TokenEvent& event : events.tokens) tokens_.push_back(event.token);
    if (events.done || events.error) {
      ended_ = true;
      error = events.error;
      if (events.done) reason = events.done->finish_reason;
    }
    condition_.notify_all();
  }
  std::vector<int32_t> wait() {
    std::unique_lock lock(mutex_);
    condition_.wait(lock, [&] { return ended_; });
    return tokens_;
  }
  std::optional<Error> error;
  FinishReason reason{};

 private:
  std::mutex mutex_;
  std::condition_variable condition_;
  std::vector<int32_t> tokens_;
  bool ended_ = false;
};

class WaitingScore final : public ScoreSink {
 public:
  void deliver(Result<std::vector<float>>&& logprobs) override {
    std::lock_guard lock(mutex_);
    ok_ = static_cast<bool>(logprobs);
    ended_ = true;
    condition_.notify_all();
  }
  bool wait() {
    std::unique_lock lock(mutex_);
    condition_.wait(lock, [&] { return ended_; });
    return ok_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable condition_;
  bool ended_ = false, ok_ = false;
};

std::shared_ptr<Engine> load(Runtime& runtime, const std::shared_ptr<const Plan>& plan, int threads, size_t cache_tokens = 2048) {
  EngineOptions options;
  options.threads = threads;
  options.cache_tokens = cache_tokens;
  options.batch_tokens = 64;
  auto engine = Engine::make(plan, nullptr, options, runtime.mappings(), runtime.signal());
  if (!engine) give_up(text_of(engine.error()));
  runtime.add(*engine);
  return *engine;
}

// A request that nothing cancels; the same prompt and seed must always give the same tokens.
std::vector<int32_t> generate(Engine& engine, std::vector<int32_t> prompt, uint64_t seed, uint32_t max_tokens) {
  RequestOptions options;
  options.max_tokens = max_tokens;
  options.sampling.temperature = 0.9f;
  options.sampling.seed = seed;
  auto sink = std::make_shared<WaitingSink>();
  if (Status status = engine.submit(engine.new_id(), std::move(prompt), options, sink, nullptr); !status) give_up(text_of(status.error()));
  auto tokens = sink->wait();
  if (sink->error) give_up(text_of(*sink->error));
  return tokens;
}

void cancel_soon(Engine& engine, int n) {
  RequestOptions options;
  options.max_tokens = 200;
  auto cancelled = std::make_shared<std::atomic<bool>>(false);
  auto sink = std::make_shared<WaitingSink>();
  const uint64_t id = engine.new_id();
  if (!engine.submit(id, {1, 2, 3}, options, sink, cancelled)) return;
  std::this_thread::sleep_for(std::chrono::microseconds(n * 50));
  cancelled->store(true);
  engine.cancel(id);
  sink->wait();
}

// Requests that begin alike, on an engine with pages for two of them: they share, copy, wait, are set back, expire and are
// cancelled, while others look at the statistics and watch the steps.
void share_and_crowd(Runtime& runtime, const std::shared_ptr<const Plan>& plan) {
  auto engine = load(runtime, plan, 2, 512);
  const std::vector<int32_t> stem(130, 9);
  const auto prompt_of = [&](int i) {
    std::vector<int32_t> prompt = stem;
    for (int j = 0; j < 3 + i; j++) prompt.push_back(20 + i);
    return prompt;
  };
  std::vector<std::vector<int32_t>> expected;
  for (int i = 0; i < 4; i++) expected.push_back(generate(*engine, prompt_of(i), 5, 60));
  std::atomic<int> different{0}, steps{0};
  std::atomic<bool> over{false};
  engine->watch_steps([&](const StepReport&) { steps++; });
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; caller++)
    callers.emplace_back([&, caller] {
      for (int i = 0; i < 6; i++) {
        if (generate(*engine, prompt_of((i + caller) % 4), 5, 60) != expected[static_cast<size_t>((i + caller) % 4)]) different++;
        cancel_soon(*engine, i * 11 + caller);
        RequestOptions options;
        options.max_tokens = 300;
        options.terms.priority = i % 3;
        options.terms.deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(2 * i);
        auto sink = std::make_shared<WaitingSink>();
        if (!engine->submit(engine->new_id(), prompt_of(i), options, sink, nullptr)) give_up("a request was refused");
        sink->wait();
      }
    });
  std::thread observer([&] {
    while (!over) {
      const EngineStats stats = engine->stats();
      if (stats.free_pages > stats.total_pages || stats.kept_pages > stats.free_pages) give_up("pages were counted twice");
    }
  });
  for (std::thread& caller : callers) caller.join();
  over = true;
  observer.join();
  engine->watch_steps(nullptr);
  if (different) give_up("the same prompt and seed gave other tokens where pages were short");
  std::atomic<bool> closed{false};
  engine->close([&] { closed = true; });
  while (!closed) std::this_thread::yield();
  if (steps == 0) give_up("nobody was told of steps");
}

// Many requests that are cancelled at once, by two threads, some before they reach the engine: each is told its end, once.
void cancel_storm(Engine& engine, int n) {
  struct Request {
    uint64_t id;
    std::shared_ptr<std::atomic<bool>> cancelled = std::make_shared<std::atomic<bool>>(false);
    std::shared_ptr<WaitingSink> sink = std::make_shared<WaitingSink>();
  };
  std::vector<Request> requests;
  for (int i = 0; i < 12; i++) requests.push_back({engine.new_id()});
  const auto cancel_half = [&](size_t first) {
    for (size_t i = first; i < requests.size(); i += 2) {
      requests[i].cancelled->store(true);
      engine.cancel(requests[i].id);
    }
  };
  if (n % 3 == 0) cancel_half(0);
  RequestOptions options;
  options.max_tokens = 300;
  for (Request& request : requests)
    if (Status status = engine.submit(request.id, {1, 2, 3, 4, 5}, options, request.sink, request.cancelled); !status) give_up(text_of(status.error()));
  std::thread other(cancel_half, 1);
  cancel_half(0);
  other.join();
  for (Request& request : requests) request.sink->wait();
}

// What a worker's isolate does from its start to its termination, at whatever point of its work that is.
void come_and_go(const std::shared_ptr<const Plan>& plan, const std::vector<int32_t>& prompt, const std::vector<int32_t>& expected, int n) {
  auto acquired = Runtime::acquire();
  if (!acquired) give_up(text_of(acquired.error()));
  std::shared_ptr<Runtime> runtime = *acquired;
  acquired = error(ErrorCode::kDisposed, {"runtime"});  // only `runtime` owns it
  auto engine = load(*runtime, plan, 1 + n % 3);
  if (n % 2 && generate(*engine, prompt, 11, 24) != expected) give_up("a coming and going isolate got other tokens");
  cancel_storm(*engine, n);
  auto sink = std::make_shared<WaitingSink>();
  RequestOptions options;
  options.max_tokens = 300;
  if (Status status = engine->submit(engine->new_id(), prompt, options, sink, nullptr); !status) give_up(text_of(status.error()));
  std::this_thread::sleep_for(std::chrono::microseconds(n * 211 % 4000));
  engine->close();
  if (n % 2) engine.reset();
  runtime.reset();
  sink->wait();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) give_up("usage: engine_driver PLAN.json");
  std::ifstream file(argv[1]);
  std::stringstream text;
  text << file.rdbuf();
  auto decoded = decode_plan(text.str());
  if (!decoded) give_up(text_of(decoded.error()));
  auto plan = std::make_shared<const Plan>(std::move(*decoded));

  auto acquired = Runtime::acquire();
  if (!acquired) give_up(text_of(acquired.error()));
  std::shared_ptr<Runtime> runtime = *acquired;
  auto engine = load(*runtime, plan, 2), other = load(*runtime, plan, 3);
  const std::vector<int32_t> prompt(100, 7);
  const auto expected = generate(*engine, prompt, 11, 24);

  std::vector<std::thread> callers;
  std::atomic<int> different{0};
  for (int caller = 0; caller < 4; caller++)
    callers.emplace_back([&, caller] {
      for (int i = 0; i < 8; i++) {
        Engine& model = (i + caller) % 2 ? *engine : *other;
        if (generate(model, prompt, 11, 24) != expected) different++;
        cancel_soon(model, i * 7 + caller);
        auto score = std::make_shared<WaitingScore>();
        if (!model.score(model.new_id(), prompt, score, nullptr) || !score->wait()) give_up("a score failed");
        runtime->on_driver(2, [&model, caller](ThreadPool& pool) {
          if (auto outputs = model.evaluate({{caller, {1, 2, 3}}}, {}, pool); !outputs) give_up(text_of(outputs.error()));
          model.forget(caller);
        });
        (void)model.stats();
        cancel_storm(model, i);
        if (caller == 0) {
          runtime->on_driver(1, [&model](ThreadPool&) { (void)model.start_profile(10'000); });
          if (generate(model, prompt, 11, 24) != expected) different++;
          runtime->on_driver(1, [&model](ThreadPool&) { (void)model.stop_profile(); });
        }
      }
    });
  for (std::thread& caller : callers) caller.join();
  if (different) give_up("the same prompt and seed gave other tokens beside other requests");

  share_and_crowd(*runtime, plan);

  // Isolates come and go beside a request of this one, and also when none holds the runtime between them.
  for (const bool alone : {false, true}) {
    if (alone) {
      engine->close();
      other->close();
      engine.reset();
      other.reset();
      acquired = error(ErrorCode::kDisposed, {"runtime"});
      runtime.reset();
    }
    std::vector<std::thread> isolates;
    for (int i = 0; i < 3; i++)
      isolates.emplace_back([&, i] {
        for (int n = 0; n < 5; n++) come_and_go(plan, prompt, expected, 5 * i + n);
      });
    if (!alone && generate(*engine, prompt, 11, 24) != expected) give_up("isolates that come and go changed the tokens of one that stays");
    for (std::thread& isolate : isolates) isolate.join();
  }
  acquired = Runtime::acquire();
  if (!acquired) give_up(text_of(acquired.error()));
  runtime = *acquired;
  acquired = error(ErrorCode::kDisposed, {"runtime"});
  engine = load(*runtime, plan, 2);

  // Engines that close while somebody waits for them: everybody is told, once.
  for (int i = 0; i < 10; i++) {
    auto closing = load(*runtime, plan, 1 + i % 3);
    RequestOptions options;
    options.max_tokens = 300;
    auto sink = std::make_shared<WaitingSink>();
    if (Status status = closing->submit(closing->new_id(), prompt, options, sink, nullptr); !status) give_up(text_of(status.error()));
    std::this_thread::sleep_for(std::chrono::microseconds(i * 300));
    std::atomic<bool> closed{false};
    closing->close([&] { closed = true; });
    sink->wait();
    while (!closed) std::this_thread::yield();
  }
  // The runtime ends in mid-work.
  auto last = std::make_shared<WaitingSink>();
  RequestOptions options;
  options.max_tokens = 300;
  if (Status status = engine->submit(engine->new_id(), prompt, options, last, nullptr); !status) give_up(text_of(status.error()));
  runtime.reset();
  last->wait();
  std::printf("1 passed, 0 failed\n");
}
