// Blocks between two owners: who gets which, how many are kept, and when they go back to the system.
#include "spare_pages.h"

#include <doctest/doctest.h>

#include <thread>

#include "runtime.h"

using namespace infernode;

// Under sanitizers every block is freed, so that they see who uses it afterwards.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

namespace {

constexpr size_t kMiB = size_t{1} << 20;

Pages taken(SparePages& spare, size_t bytes) {
  auto pages = spare.take(bytes, "a test");
  REQUIRE(pages);
  REQUIRE(pages->size() >= bytes);
  return std::move(*pages);
}

// Gives a block of its own to the spare ones and lets go of it.
struct LettingGo : SlicedWork {
  bool waits() override { return false; }
  bool step(ThreadPool&) override {
    SparePages::shared().give(taken(SparePages::shared(), kMiB));
    return false;
  }
  void drop() override {}
};

}  // namespace

TEST_CASE("spare pages are handed on to who asks for about as much") {
  SparePages spare;
  spare.keep();
  Pages first = taken(spare, 8 * kMiB);
  std::byte* const data = first.data();
  data[0] = std::byte{1};
  spare.give(std::move(first));
  CHECK(spare.bytes() == 8 * kMiB);
  CHECK(taken(spare, 8 * kMiB + 1).data() != data);
  CHECK(taken(spare, 7 * kMiB).data() != data);  // more than an eighth would be wasted
  const Pages again = taken(spare, 8 * kMiB - kMiB / 2);
  CHECK(again.data() == data);
  CHECK(again.data()[0] == std::byte{1});
  CHECK(spare.bytes() == 0);
}

TEST_CASE("of several spare blocks the one that fits best is taken") {
  SparePages spare;
  spare.keep();
  std::vector<Pages> blocks;
  for (size_t bytes : {1000 * 4096, 1020 * 4096, 1010 * 4096}) blocks.push_back(taken(spare, bytes));
  std::byte* const best = blocks[2].data();
  for (Pages& block : blocks) spare.give(std::move(block));
  CHECK(taken(spare, 1001 * 4096).data() == best);
}

TEST_CASE("spare pages are bounded, and the oldest go first") {
  SparePages spare;
  spare.keep();
  Pages oldest = taken(spare, 30 * kMiB), second = taken(spare, 20 * kMiB), third = taken(spare, 20 * kMiB);
  spare.give(std::move(oldest));
  spare.give(std::move(second));
  spare.give(std::move(third));
  CHECK(spare.bytes() == 40 * kMiB);
  spare.give(taken(spare, SparePages::kMostBytes + 4096));
  CHECK(spare.bytes() == 40 * kMiB);
  std::vector<Pages> small;
  for (size_t i = 0; i < SparePages::kMostBlocks; i++) small.push_back(taken(spare, 4096));
  for (Pages& block : small) spare.give(std::move(block));
  CHECK(spare.bytes() == SparePages::kMostBlocks * 4096);
  spare.give({});
  CHECK(spare.bytes() == SparePages::kMostBlocks * 4096);
}

TEST_CASE("spare pages are kept only between keep and release") {
  SparePages spare;
  spare.give(taken(spare, kMiB));
  CHECK(spare.bytes() == 0);
  spare.keep();
  spare.give(taken(spare, kMiB));
  CHECK(spare.bytes() == kMiB);
  spare.release();
  CHECK(spare.bytes() == 0);
  spare.give(taken(spare, kMiB));
  CHECK(spare.bytes() == 0);
}

TEST_CASE("a runtime without work gives spare pages back") {
  auto runtime = Runtime::acquire();
  REQUIRE(runtime);
  (*runtime)->add(std::make_shared<LettingGo>());
  const auto reached = [](size_t bytes) {
    for (int i = 0; i < 3000 && SparePages::shared().bytes() != bytes; i++) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return SparePages::shared().bytes() == bytes;
  };
  CHECK(reached(kMiB));
  CHECK(reached(0));
  // … and one that ends, too.
  (*runtime)->add(std::make_shared<LettingGo>());
  CHECK(reached(kMiB));
  runtime->reset();
  CHECK(SparePages::shared().bytes() == 0);
}

#endif
