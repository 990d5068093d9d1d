// The thread pool under load: every step whole, every item once, whatever the number of cores.
#include "thread_pool.h"

#include <doctest/doctest.h>

#include <chrono>
#include <cstring>
#include <ctime>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

using namespace infernode;

namespace {

std::unique_ptr<ThreadPool> make_pool(int threads) {
  auto pool = ThreadPool::make(threads);
  REQUIRE(pool);
  return std::move(*pool);
}

// Each step adds 1 to every item, in pieces that any thread may take; a step reads what others wrote in the one before.
struct Steps {
  static constexpr size_t kItems = 37;
  int n_steps;
  size_t grain;
  std::vector<int> items[2] = {std::vector<int>(kItems, 0), std::vector<int>(kItems, 0)};

  static void walk(void* context, int thread, Barrier& barrier) {
    auto& self = *static_cast<Steps*>(context);
    for (int step = 0; step < self.n_steps; step++) {
      const std::vector<int>& from = self.items[step % 2];
      std::vector<int>& to = self.items[(step + 1) % 2];
      for (size_t begin = barrier.claim(self.grain, kItems); begin < kItems; begin = barrier.claim(self.grain, kItems))
        for (size_t i = begin; i < std::min(begin + self.grain, kItems); i++) to[i] = from[(i + 5) % kItems] + 1;
      barrier.wait(thread);
    }
  }
};

}  // namespace

TEST_CASE("every item of every step is done once, and seen by the next step") {
  for (int threads = 1; threads <= 8; threads++) {
    auto pool = make_pool(threads);
    for (int n = 1; n <= threads; n++) {
      Steps steps{threads == 8 ? 400 : 100, static_cast<size_t>(1 + n % 3)};
      for (int run = 1; run <= 3; run++) {
        pool->run(n, &Steps::walk, &steps);
        const auto& last = steps.items[steps.n_steps % 2];
        for (int item : last) REQUIRE(item == run * steps.n_steps);
      }
    }
  }
}

TEST_CASE("thousands of short runs with changing numbers of threads all finish") {
  auto pool = make_pool(4);
  struct Count {
    std::atomic<int> calls{0};
    std::atomic<uint32_t> numbers{0};
  } count;
  int expected = 0;
  for (int i = 0; i < 5000; i++) {
    const int n = 1 + i % 4;
    count.numbers = 0;
    pool->run(n, [](void* context, int thread, Barrier&) {
      static_cast<Count*>(context)->calls++;
      static_cast<Count*>(context)->numbers |= 1u << thread;
    }, &count);
    expected += n;
    REQUIRE(count.calls == expected);
    REQUIRE(count.numbers == (1u << n) - 1);
  }
}

TEST_CASE("a run with more threads than there are uses all, one with none uses the caller") {
  auto pool = make_pool(3);
  CHECK(pool->size() == 3);
  for (const auto& [asked, expected] : {std::pair{100, 3}, {0, 1}, {-5, 1}}) {
    std::atomic<int> calls{0};
    pool->run(asked, [](void* context, int, Barrier&) { ++*static_cast<std::atomic<int>*>(context); }, &calls);
    CHECK(calls == expected);
  }
}

TEST_CASE("claims that a run leaves behind do not reach the next one") {
  auto pool = make_pool(2);
  for (int n : {1, 2})
    for (int run = 0; run < 100; run++) {
      std::atomic<size_t> done{0};
      pool->run(n, [](void* context, int, Barrier& barrier) {
        while (barrier.claim(1, 3) < 3) ++*static_cast<std::atomic<size_t>*>(context);
      }, &done);
      REQUIRE(done == 3);
    }
}

TEST_CASE("impossible numbers of threads are refused") {
  for (int threads : {0, -1, 1025, INT32_MIN, INT32_MAX}) {
    auto pool = ThreadPool::make(threads);
    REQUIRE(!pool);
    CHECK(pool.error().code == ErrorCode::kInvalidArgument);
  }
}

TEST_CASE("an idle pool takes no processor time") {
  auto pool = make_pool(4);
  pool->run(4, [](void*, int, Barrier&) {}, nullptr);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const std::clock_t before = std::clock();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  CHECK(std::clock() - before < CLOCKS_PER_SEC / 50);
}

#if defined(__x86_64__)
TEST_CASE("workers round to nearest and keep denormals, whatever the program that made them does") {
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040 | 0x6000);  // FTZ, DAZ, toward zero: new threads inherit it
  auto pool = make_pool(2);
  struct State {
    unsigned of[2];
  } state{};
  pool->run(2, [](void* context, int thread, Barrier&) { static_cast<State*>(context)->of[thread] = _mm_getcsr(); }, &state);
  CHECK((state.of[1] & 0xffc0) == 0x1f80);
  set_float_environment();
  CHECK((_mm_getcsr() & 0xffc0) == 0x1f80);
  _mm_setcsr(before);
}
#endif
