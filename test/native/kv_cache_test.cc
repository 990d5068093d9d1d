// Pages of the KV cache: random lives of sequences against a model of what must be in every page, and who holds it.
#include "cache_model.h"

#include <memory>

namespace infernode::test {

namespace {

struct Holder {
  std::vector<int32_t> tokens;
  size_t computed = 0;
  BlockTables tables;
};

// Every page that the tables name, with how many of them do.
std::map<int32_t, size_t> holders_of(const std::vector<std::unique_ptr<Holder>>& all, const std::vector<uint32_t>& windows) {
  std::map<int32_t, size_t> pages;
  for (const auto& holder : all) {
    std::set<int32_t> own;
    for (size_t g = 0; g < windows.size() && holder->tables.held() > 0; g++)
      for (size_t b = 0; b * kPage < holder->computed; b++)
        if (const int32_t page = holder->tables.pages()[g][b]; page >= 0) CHECK(own.insert(page).second);
    for (int32_t page : own) pages[page]++;
    CHECK(own.size() == holder->tables.held());
  }
  return pages;
}

// Texts that begin alike: a few stems, cut anywhere, with a few ways to go on.
std::vector<int32_t> random_text(Numbers& numbers) {
  const size_t stem = numbers.below(3), cut = numbers.below(400), rest = 1 + numbers.below(150), way = numbers.below(4);
  std::vector<int32_t> tokens;
  Numbers of_stem{stem}, of_way{100 + way};
  for (size_t i = 0; i < cut; i++) tokens.push_back(static_cast<int32_t>(of_stem.below(1000)));
  for (size_t i = 0; i < rest; i++) tokens.push_back(static_cast<int32_t>(of_way.below(1000)));
  return tokens;
}

}  // namespace

TEST_CASE("pages hold what their sequences computed, belong to nobody else, and all come back") {
  const std::vector<std::vector<uint32_t>> shapes = {{0}, {0, 0}, {0, 100}, {70}, {0, 1}, {130, 0, 7}};
  for (const auto& windows : shapes)
    for (const bool keep : {true, false})
      for (uint64_t seed = 0; seed < 6; seed++) {
        CAPTURE(seed);
        CAPTURE(windows.size());
        Numbers numbers{seed * 1000 + windows.size()};
        KvCache cache(plan_with_windows(windows), 64 * (10 + numbers.below(30)), 96, keep);
        CacheModel memory(windows);
        std::vector<std::unique_ptr<Holder>> holders;
        std::vector<PageCopy> copies;
        size_t found = 0;
        for (int turn = 0; turn < 1500; turn++) {
          if (numbers.below(6) == 0 || holders.empty()) {
            holders.push_back(std::make_unique<Holder>());
            holders.back()->tokens = random_text(numbers);
          }
          const size_t which = numbers.below(holders.size());
          Holder& holder = *holders[which];
          if (numbers.below(12) == 0 || holder.computed == holder.tokens.size()) {
            if (numbers.below(4) == 0) cache.release(holder.tables);
            else cache.release(holder.tables, &holder.tokens, holder.computed);
            holders.erase(holders.begin() + static_cast<std::ptrdiff_t>(which));
          } else {
            if (holder.computed == KvCache::full_blocks(holder.tables) * kPage && numbers.below(2)) {
              std::vector<KvCache::Donor> donors;
              for (const auto& other : holders)
                if (other.get() != &holder) donors.push_back({&other->tables, &other->tokens, other->computed});
              copies.clear();
              const size_t computed = cache.attach(holder.tables, holder.tokens, holder.tokens.size() - 1, donors, copies);
              memory.copy(copies);
              CHECK(computed >= holder.computed);
              CHECK(computed < holder.tokens.size());
              found += computed - holder.computed;
              holder.computed = computed;
            }
            const size_t end = holder.computed + 1 + numbers.below(std::min<size_t>(96, holder.tokens.size() - holder.computed));
            if (cache.extend(holder.tables, holder.computed, end)) {
              memory.compute(holder.tables, holder.tokens, holder.computed, end);
              holder.computed = end;
              cache.publish(holder.tables, holder.tokens, end);
            } else {
              cache.release(holder.tables, &holder.tokens, holder.computed);
              holder.computed = 0;
            }
          }
          const auto held = holders_of(holders, windows);
          size_t shared = 0;
          for (const auto& [page, n] : held) shared += n > 1;
          REQUIRE(cache.shared_pages() == shared);
          REQUIRE(cache.available_pages() == cache.total_pages() - held.size());
          REQUIRE(cache.kept_pages() <= cache.available_pages());
        }
        for (auto& holder : holders) cache.release(holder->tables, &holder->tokens, holder->computed);
        CHECK(cache.available_pages() == cache.total_pages());
        CHECK(cache.shared_pages() == 0);
        if (keep && windows[0] == 0) CHECK(found > 1000);
        if (!keep) {
          CHECK(found == 0);
          CHECK(cache.kept_pages() == 0);
        }
      }
}

TEST_CASE("what is kept longest unused is evicted first, the end of a text before its beginning") {
  KvCache cache(plan_with_windows({0}), 64 * 6, 512);
  const auto compute = [&](std::vector<int32_t> tokens) {
    BlockTables tables;
    REQUIRE(cache.extend(tables, 0, tokens.size()));
    cache.publish(tables, tokens, tokens.size());
    cache.release(tables, &tokens, tokens.size());
  };
  const auto found = [&](const std::vector<int32_t>& tokens) {
    BlockTables tables;
    std::vector<PageCopy> copies;
    const size_t n = cache.attach(tables, tokens, tokens.size() - 1, {}, copies);
    cache.release(tables);
    return n;
  };
  const std::vector<int32_t> a(3 * 64 + 1, 1), b(2 * 64 + 1, 2), c(2 * 64, 3);
  compute(a);
  compute(b);
  CHECK(cache.evicted_pages() == 0);
  CHECK(cache.kept_pages() == 5);  // and one page with one token, which is not worth keeping, twice
  CHECK(found(a) == 3 * 64);  // now it is b that was not used for longest
  compute(c);
  CHECK(cache.evicted_pages() == 1);
  CHECK(found(b) == 64);
  CHECK(found(a) == 3 * 64);
  CHECK(found(c) == 127);
}

TEST_CASE("a sequence goes on after what a window has given back only where all that it sees is there") {
  KvCache cache(plan_with_windows({0, 64}), 64 * 40, 512);
  std::vector<int32_t> tokens(640);
  for (size_t i = 0; i < tokens.size(); i++) tokens[i] = static_cast<int32_t>(i);
  BlockTables writer, reader;
  std::vector<PageCopy> copies;
  for (size_t start = 0; start < 640; start += 64) {
    REQUIRE(cache.extend(writer, start, start + 64));
    cache.publish(writer, tokens, start + 64);
  }
  // In use: the writer's window has two pages, the others are kept.
  CHECK(cache.kept_pages() == 8);
  CHECK(cache.attach(reader, tokens, 400, {}, copies) == 400);
  CHECK(reader.pages()[1][3] == -1);
  CHECK(reader.pages()[1][5] >= 0);
  CHECK(reader.pages()[0][0] == writer.pages()[0][0]);
  CHECK(copies.size() == 2);
  cache.release(reader);
  cache.release(writer, &tokens, 640);
  CHECK(cache.available_pages() == cache.total_pages());
}

}  // namespace infernode::test
