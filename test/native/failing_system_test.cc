// The engine on a system that fails: the n-th allocation, mapping, thread or read, for every n of a load, a start and some steps.
// The linker puts the functions below in place of the system's (--wrap, CMakeLists.txt); what std containers take by operator new is
// only weighed: it must not grow with the context or the batch.
// INFERNODE_TEST_PLAN and INFERNODE_TEST_TOKENIZER name files with the plan and the tokenizer description of the embedded model.
#include <doctest/doctest.h>

#include <sys/mman.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <new>
#include <sstream>

#include "json.h"
#include "runtime.h"
#include "tokenizer/tokenizer.h"

using namespace infernode;

namespace {

enum class What { kNothing, kMemory, kThread, kRead };

// The n-th call of a kind fails, once; `calls` counts on.
struct Failing {
  std::atomic<What> what{What::kNothing};
  std::atomic<long> nth{0}, calls{0};
  std::atomic<int> read_errno{0};  // 0: the file ends
  bool now(What kind) { return what.load() == kind && calls.fetch_add(1) + 1 == nth.load(); }
  void arm(What kind, long n) {
    calls = 0;
    nth = n;
    what = kind;
  }
  // Whether there was an n-th call.
  bool disarm() {
    what = What::kNothing;
    return calls.load() >= nth.load();
  }
} failing;

std::atomic<bool> weighing{false};
std::atomic<size_t> heaviest{0};

void weigh(size_t bytes) {
  if (!weighing.load(std::memory_order_relaxed)) return;
  for (size_t seen = heaviest.load(); bytes > seen && !heaviest.compare_exchange_weak(seen, bytes);) {
  }
}

}  // namespace

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
void* operator new(size_t bytes) {
  weigh(bytes);
  if (void* memory = std::malloc(bytes ? bytes : 1)) return memory;
  std::abort();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
#define INFERNODE_WEIGHS 1
#endif

extern "C" {
void* __real_aligned_alloc(size_t alignment, size_t bytes);
void* __real_mmap(void* address, size_t bytes, int protection, int flags, int file, off_t offset);
int __real_pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*), void* argument);
ssize_t __real_pread(int file, void* out, size_t bytes, off_t offset);

void* __wrap_aligned_alloc(size_t alignment, size_t bytes) {
  return failing.now(What::kMemory) ? nullptr : __real_aligned_alloc(alignment, bytes);
}
void* __wrap_mmap(void* address, size_t bytes, int protection, int flags, int file, off_t offset) {
  if (!failing.now(What::kMemory)) return __real_mmap(address, bytes, protection, flags, file, offset);
  errno = ENOMEM;
  return MAP_FAILED;
}
int __wrap_pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*), void* argument) {
  return failing.now(What::kThread) ? EAGAIN : __real_pthread_create(thread, attributes, body, argument);
}
ssize_t __wrap_pread(int file, void* out, size_t bytes, off_t offset) {
  if (!failing.now(What::kRead)) {
    // Short reads and interruptions are no errors; every read meets both.
    static thread_local bool interrupt = false;
    if (failing.what.load() == What::kRead && (interrupt = !interrupt)) {
      errno = EINTR;
      return -1;
    }
    return __real_pread(file, out, failing.what.load() == What::kRead && bytes > 100'000 ? 100'000 : bytes, offset);
  }
  errno = failing.read_errno.load();
  return errno ? -1 : 0;
}
}

namespace {

std::string text_of_file(const char* variable) {
  const char* path = std::getenv(variable);
  REQUIRE_MESSAGE(path, variable << " is not set; npm run test:native sets it");
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  REQUIRE(!text.str().empty());
  return text.str();
}

class WaitingSink final : public RequestSink {
 public:
  void deliver(RequestEvents&& events) override {
    std::lock_guard lock(mutex_);
    for (const TokenEvent& event : events.tokens) tokens.push_back(event.token);
    ended_ |= events.done || events.error;
    if (events.error) error = events.error;
    condition_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    condition_.wait(lock, [&] { return ended_; });
  }
  std::vector<int32_t> tokens;
  std::optional<Error> error;

 private:
  std::mutex mutex_;
  std::condition_variable condition_;
  bool ended_ = false;
};

EngineOptions options_of(bool map_files, size_t batch_tokens = 64) {
  EngineOptions options;
  options.threads = 2;
  options.cache_tokens = 1024;
  options.batch_tokens = batch_tokens;
  options.map_files = map_files;
  return options;
}

// All that Model.load asks of the native side.
Result<std::shared_ptr<Engine>> load(Runtime& runtime, const std::string& plan_text, const std::string& tokenizer_text, bool map_files) {
  INFERNODE_ASSIGN(plan, decode_plan(plan_text));
  INFERNODE_ASSIGN(description, json::Document::parse(tokenizer_text, "description"));
  INFERNODE_ASSIGN(tokenizer, Tokenizer::make(description.root(), "description"));
  return Engine::make(std::make_shared<const Plan>(std::move(plan)), tokenizer, options_of(map_files), runtime.mappings(), runtime.signal());
}

// What a request gave: its tokens, or the error of submit() or of a step.
Result<std::vector<int32_t>> generate(Engine& engine, size_t prompt_tokens = 70) {
  RequestOptions options;
  options.max_tokens = 6;
  options.sampling.temperature = 0.7f;
  options.sampling.top_k = 20;
  options.sampling.repetition_penalty = 1.1f;
  options.sampling.logprobs = 2;
  options.sampling.seed = 5;
  auto sink = std::make_shared<WaitingSink>();
  INFERNODE_TRY(engine.submit(engine.new_id(), std::vector<int32_t>(prompt_tokens, 7), options, sink, nullptr));
  sink->wait();
  if (sink->error) return *sink->error;
  return sink->tokens;
}

std::shared_ptr<Runtime> start() {
  auto runtime = Runtime::acquire();
  REQUIRE(runtime);
  return *runtime;
}

void close(const std::shared_ptr<Engine>& engine) {
  std::atomic<bool> closed{false};
  engine->close([&] { closed = true; });
  while (!closed) usleep(100);
}

}  // namespace

TEST_CASE("every allocation of a load may fail, and is then an error") {
  const std::string plan = text_of_file("INFERNODE_TEST_PLAN"), tokenizer = text_of_file("INFERNODE_TEST_TOKENIZER");
  const auto runtime = start();
  for (const bool map_files : {true, false}) {
    long n = 1;
    for (;; n++) {
      failing.arm(What::kMemory, n);
      auto engine = load(*runtime, plan, tokenizer, map_files);
      if (!failing.disarm()) {
        REQUIRE(engine);
        break;
      }
      CAPTURE(n);
      REQUIRE(!engine);
      CHECK(engine.error().code == ErrorCode::kOutOfMemory);
    }
    MESSAGE(std::string(map_files ? "mapped: " : "read: ") << (n - 1) << " allocations, each failed once");
    CHECK(n > 10);
  }
}

TEST_CASE("every allocation of a request and its steps may fail; the next request gets its tokens") {
  const std::string plan = text_of_file("INFERNODE_TEST_PLAN"), tokenizer = text_of_file("INFERNODE_TEST_TOKENIZER");
  const auto runtime = start();
  auto loaded = load(*runtime, plan, tokenizer, true);
  REQUIRE(loaded);
  const std::shared_ptr<Engine> engine = *loaded;
  runtime->add(engine);
  const auto expected = generate(*engine);
  REQUIRE(expected);
  long n = 1;
  for (;; n++) {
    failing.arm(What::kMemory, n);
    const auto tokens = generate(*engine);
    const bool failed = failing.disarm();
    CAPTURE(n);
    if (!failed) {
      REQUIRE(tokens);
      CHECK(*tokens == *expected);
      break;
    }
    // A system that has no room for a larger workspace may do with the old one; what is given must be right.
    if (tokens) CHECK(*tokens == *expected);
    else CHECK(tokens.error().code == ErrorCode::kOutOfMemory);
    const auto after = generate(*engine);
    REQUIRE(after);
    CHECK(*after == *expected);
  }
  MESSAGE((n - 1) << " allocations of a request, each failed once");
  CHECK(n > 2);
  const EngineStats stats = engine->stats();
  CHECK(stats.running == 0);
  CHECK(stats.waiting == 0);
  close(engine);
}

TEST_CASE("every thread of a start may be refused, and is then an error") {
  long n = 1;
  for (;; n++) {
    failing.arm(What::kThread, n);
    auto runtime = Runtime::acquire();
    if (!failing.disarm()) {
      REQUIRE(runtime);
      break;
    }
    CAPTURE(n);
    REQUIRE(!runtime);
    CHECK(runtime.error().code == ErrorCode::kOutOfMemory);
  }
  CHECK(n > 3);
}

#ifdef INFERNODE_WEIGHS
TEST_CASE("what std containers take at once does not grow with context and batch") {
  const std::string plan = text_of_file("INFERNODE_TEST_PLAN"), tokenizer = text_of_file("INFERNODE_TEST_TOKENIZER");
  const auto runtime = start();
  auto engine = load(*runtime, plan, tokenizer, true);
  REQUIRE(engine);
  runtime->add(*engine);
  REQUIRE(generate(**engine));
  heaviest = 0;
  weighing = true;
  REQUIRE(generate(**engine, 250));
  weighing = false;
  MESSAGE("a request of 250 tokens: at most " << heaviest.load() << " bytes at once");
  CHECK(heaviest.load() <= 16 << 10);
  close(*engine);
}
#endif

TEST_CASE("a read error is an error, for every read of a load") {
  const std::string plan = text_of_file("INFERNODE_TEST_PLAN"), tokenizer = text_of_file("INFERNODE_TEST_TOKENIZER");
  const auto runtime = start();
  for (const int code : {EIO, ESTALE, 0}) {
    long n = 1;
    for (;; n++) {
      failing.read_errno = code;
      failing.arm(What::kRead, n);
      auto engine = load(*runtime, plan, tokenizer, false);
      if (!failing.disarm()) {
        REQUIRE(engine);
        break;
      }
      CAPTURE(n);
      CAPTURE(code);
      REQUIRE(!engine);
      CHECK(engine.error().code == (code ? ErrorCode::kFileUnreadable : ErrorCode::kFileChanged));
    }
    CHECK(n > 10);
  }
}

namespace {

struct TemporaryFolder {
  std::string path;
  TemporaryFolder() {
    char name[] = "/tmp/infernode-test-XXXXXX";
    REQUIRE(mkdtemp(name));
    path = name;
  }
  ~TemporaryFolder() { (void)std::system(("rm -r " + path).c_str()); }
  std::string file(const std::string& name, const std::string& text) const {
    std::ofstream(path + "/" + name) << text;
    return path + "/" + name;
  }
};

}  // namespace

TEST_CASE("what is no regular file is refused at once") {
  const TemporaryFolder folder;
  MappingRegistry registry;
  const std::string pipe = folder.path + "/pipe";
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  for (const bool map : {true, false})
    for (const std::string& path : {pipe, folder.path, std::string("/dev/zero"), std::string("/proc/self/mem"), folder.path + "/none",
                                    folder.file("empty", "")}) {
      CAPTURE(path);
      auto mapping = registry.open(path, 0, map);
      REQUIRE(!mapping);
      CHECK(mapping.error().code == ErrorCode::kFileUnreadable);
    }
}

TEST_CASE("a mapped file that was cut short, written to or replaced is noticed as what it is; one that was read stays") {
  const TemporaryFolder folder;
  MappingRegistry registry;
  const std::string old(100'000, 'a');
  const auto open = [&](const std::string& path, bool map) {
    auto mapping = registry.open(path, 0, map);
    REQUIRE(mapping);
    CHECK((*mapping)->unchanged());
    return *mapping;
  };
  const auto is_changed = [](const Mapping& mapping) {
    const Status status = mapping.unchanged();
    if (!status) CHECK(status.error().code == ErrorCode::kFileChanged);
    return !status;
  };
  for (const bool map : {true, false}) {
    const std::string cut = folder.file("cut", old);
    const auto mapping = open(cut, map);
    REQUIRE(truncate(cut.c_str(), 10) == 0);
    CHECK(is_changed(*mapping) == map);
    if (!map) CHECK(std::string_view(reinterpret_cast<const char*>(mapping->data()), mapping->size()) == old);

    const std::string written = folder.file("written", old);
    const auto second = open(written, map);
    usleep(20'000);  // file systems count time in ticks
    folder.file("written", std::string(100'000, 'b'));
    CHECK(is_changed(*second) == map);

    const std::string replaced = folder.file("replaced", old);
    const auto third = open(replaced, map);
    REQUIRE(rename(folder.file("other", std::string(50, 'c')).c_str(), replaced.c_str()) == 0);
    CHECK(!is_changed(*third));
    CHECK(std::string_view(reinterpret_cast<const char*>(third->data()), third->size()) == old);
    // Who opens it now gets the new one.
    CHECK(open(replaced, map)->size() == 50);
    REQUIRE(unlink(replaced.c_str()) == 0);
    CHECK(!is_changed(*third));
  }
}

TEST_CASE("who opens the same file again shares it, and what was made of it") {
  const TemporaryFolder folder;
  MappingRegistry registry;
  const std::string path = folder.file("file", "abc");
  for (const bool map : {true, false}) {
    auto first = registry.open(path, 0, map), second = registry.open(path, 3, map);
    REQUIRE(first);
    REQUIRE(second);
    CHECK(first->get() == second->get());
  }
  int made = 0;
  const auto make = [&]() -> Result<std::shared_ptr<const int>> { return std::make_shared<const int>(++made); };
  auto one = registry.share<int>("key", make), two = registry.share<int>("key", make), three = registry.share<int>("other", make);
  REQUIRE(one);
  REQUIRE(two);
  REQUIRE(three);
  CHECK(one->get() == two->get());
  CHECK(**three == 2);
}
