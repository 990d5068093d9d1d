// The thread pool under load: every section whole, every item once, whatever the number of cores.
#include "thread_pool.h"

#include <doctest/doctest.h>

#include <chrono>
#include <cstring>
#include <ctime>
#include <thread>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

using namespace infernode;
using Section = ThreadPool::Section;

namespace {

std::unique_ptr<ThreadPool> make_pool(int threads) {
  auto pool = ThreadPool::make(threads);
  REQUIRE(pool);
  return std::move(*pool);
}

// Each section adds 1 to every item, in pieces that any thread may take; it reads what others wrote in the one before.
struct Steps {
  static constexpr size_t kItems = 37;
  std::vector<int> items[2] = {std::vector<int>(kItems, 0), std::vector<int>(kItems, 0)};
  size_t first = 0;  // sections done in earlier runs

  static void work(void* context, size_t section, size_t begin, size_t end, int) {
    auto& self = *static_cast<Steps*>(context);
    const std::vector<int>& from = self.items[(self.first + section) % 2];
    std::vector<int>& to = self.items[(self.first + section + 1) % 2];
    for (size_t i = begin; i < end; i++) to[i] = from[(i + 5) % kItems] + 1;
  }
};

struct Calls {
  std::atomic<int> calls{0};
  std::atomic<uint32_t> numbers{0};
  static void count(void* context, size_t, size_t, size_t, int thread) {
    static_cast<Calls*>(context)->calls++;
    static_cast<Calls*>(context)->numbers |= 1u << thread;
  }
};

}  // namespace

TEST_CASE("every item of every section is done once, and seen by the next section") {
  for (int threads = 1; threads <= 8; threads++) {
    auto pool = make_pool(threads);
    for (int n = 1; n <= threads; n++) {
      std::vector<Section> sections;
      for (size_t i = 0; i < (threads == 8 ? 400 : 100); i++) sections.push_back({Steps::kItems, 1 + i % 3, i % 7});
      Steps steps;
      for (int run = 1; run <= 3; run++) {
        pool->run(n, sections.data(), sections.size(), &Steps::work, &steps);
        steps.first += sections.size();
        for (int item : steps.items[steps.first % 2]) REQUIRE(item == run * static_cast<int>(sections.size()));
      }
    }
  }
}

TEST_CASE("each thread has one large piece of a section, if there are enough items, and what is left is cut small") {
  auto pool = make_pool(2);
  struct Pieces {
    std::atomic<int> large{0}, small{0}, other{0}, items{0};
    static void count(void* context, size_t, size_t begin, size_t end, int) {
      auto& self = *static_cast<Pieces*>(context);
      (end - begin == 10 ? self.large : end - begin == 3 ? self.small : self.other)++;
      self.items += static_cast<int>(end - begin);
    }
  };
  struct Case {
    Section section;
    int large, small, other;
  };
  for (const Case& c : {Case{{33, 3, 10}, 2, 4, 1}, {{20, 3, 10}, 2, 0, 0}, {{19, 3, 10}, 0, 6, 1}, {{9, 3, 0}, 0, 3, 0}}) {
    Pieces pieces;
    pool->run(2, &c.section, 1, &Pieces::count, &pieces);
    CHECK(pieces.large == c.large);
    CHECK(pieces.small == c.small);
    CHECK(pieces.other == c.other);
    CHECK(pieces.items == static_cast<int>(c.section.items));
  }
}

TEST_CASE("thousands of short runs with changing numbers of threads all finish, with thread numbers below what was asked for") {
  auto pool = make_pool(4);
  Calls calls;
  for (int i = 0; i < 5000; i++) {
    const int n = 1 + i % 4;
    const Section section{static_cast<size_t>(2 * n), 1};
    calls.calls = 0;
    calls.numbers = 0;
    pool->run(n, &section, 1, &Calls::count, &calls);
    REQUIRE(calls.calls == (n == 1 ? 1 : 2 * n));
    REQUIRE(calls.numbers < 1u << n);
  }
}

TEST_CASE("sections without items are passed over, and a run without any returns") {
  for (int n : {1, 3}) {
    auto pool = make_pool(3);
    Calls calls;
    const Section sections[] = {{0, 1}, {0, 1}, {5, 5}, {0, 1}};
    pool->run(n, sections, 4, &Calls::count, &calls);
    CHECK(calls.calls == 1);
    pool->run(n, sections, 2, &Calls::count, &calls);
    pool->run(n, nullptr, 0, &Calls::count, &calls);
    CHECK(calls.calls == 1);
  }
}

TEST_CASE("a run with more threads than there are uses all, one with none uses the caller") {
  auto pool = make_pool(3);
  CHECK(pool->size() == 3);
  for (int asked : {100, 0, -5}) {
    Calls calls;
    const Section section{64, 1};
    pool->run(asked, &section, 1, &Calls::count, &calls);
    CHECK(calls.numbers < 8);
    if (asked <= 0) CHECK(calls.numbers == 1);
  }
}

TEST_CASE("a thread that is held up does not hold up the sections after its piece") {
  auto pool = make_pool(2);
  struct Held {
    std::atomic<int> done{0};
  } held;
  // One piece each: while the pool's thread sleeps, the caller alone finishes any number of sections.
  const std::vector<Section> sections(1000, Section{1, 1});
  pool->run(2, sections.data(), sections.size(), [](void* context, size_t, size_t, size_t, int) {
    static_cast<Held*>(context)->done++;
  }, &held);
  CHECK(held.done == 1000);
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
  Calls calls;
  const Section section{16, 1};
  pool->run(4, &section, 1, &Calls::count, &calls);
  pool->run(2, &section, 1, &Calls::count, &calls);
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
    std::atomic<unsigned> of_worker{0};
    std::atomic<int> pieces{0};
  } state;
  // The caller's pieces wait until the worker has done one.
  const Section section{2, 1};
  pool->run(2, &section, 1, [](void* context, size_t, size_t, size_t, int thread) {
    auto& s = *static_cast<State*>(context);
    if (thread == 1) s.of_worker = _mm_getcsr();
    s.pieces++;
    while (s.pieces < 2) std::this_thread::yield();
  }, &state);
  CHECK((state.of_worker & 0xffc0) == 0x1f80);
  set_float_environment();
  CHECK((_mm_getcsr() & 0xffc0) == 0x1f80);
  _mm_setcsr(before);
}
#endif
