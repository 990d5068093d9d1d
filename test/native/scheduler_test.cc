// The scheduler without a model: sequences whose next token is a function of all before it, over a cache in miniature.
#include "scheduler.h"

#include "cache_model.h"

namespace infernode::test {

namespace {

int32_t token_after(const std::vector<int32_t>& tokens) {
  uint64_t hash = 1;
  for (int32_t token : tokens) hash = hash_after(hash, token);
  return static_cast<int32_t>(hash % 1000);
}

struct Outcome {
  bool ended = false, expired = false;
  std::vector<int32_t> tokens;
  size_t cached = 0;
};

class FakeSequence final : public Sequence {
 public:
  FakeSequence(uint64_t id, std::vector<int32_t> prompt, size_t n, Outcome& outcome)
      : Sequence(id, std::move(prompt)), n_(n), outcome_(outcome) {}
  size_t capacity() const override { return n_prompt_ + n_; }
  bool wants_logits(size_t position) const override { return position + 1 == tokens_.size(); }
  size_t first_wanted() const override { return tokens_.size() - 1; }
  void examine(size_t, float*, size_t, const cpu::KernelTable&) override {}
  bool advance(size_t n) override {
    computed_ += n;
    if (pending() > 0) return true;
    tokens_.push_back(token_after(tokens_));
    if (tokens_.size() < n_prompt_ + n_) return true;
    outcome_.ended = true;
    outcome_.tokens = tokens_;
    outcome_.cached = cached_;
    return false;
  }
  void flush() override {}
  void fail(const Error&) override {}
  void cancel() override {}
  void expire() override { outcome_.expired = true; }

 private:
  const size_t n_;
  Outcome& outcome_;
};

std::vector<int32_t> expected(std::vector<int32_t> tokens, size_t n) {
  for (size_t i = 0; i < n; i++) tokens.push_back(token_after(tokens));
  return tokens;
}

std::vector<int32_t> text(size_t n, uint64_t seed) {
  Numbers numbers{seed};
  std::vector<int32_t> tokens(n);
  for (int32_t& token : tokens) token = static_cast<int32_t>(numbers.below(1000));
  return tokens;
}

// A scheduler and what an engine does around it.
struct Machine {
  KvCache cache;
  Scheduler scheduler;
  CacheModel memory;
  size_t computed = 0, most_beside_decoding = 0;
  uint64_t next_id = 1;

  Machine(std::vector<uint32_t> windows, size_t cache_tokens, size_t batch = 512, size_t max_queue = 1000)
      : cache(plan_with_windows(windows), cache_tokens, batch), scheduler(cache, batch, max_queue), memory(std::move(windows)) {}

  Status add(std::vector<int32_t> prompt, size_t n, Outcome& outcome, Terms terms = {}) {
    std::unique_ptr<Sequence> sequence = std::make_unique<FakeSequence>(next_id++, std::move(prompt), n, outcome);
    sequence->terms = terms;
    return scheduler.add(sequence);
  }

  bool step() {
    const std::vector<BatchPart> parts = scheduler.next_step();
    memory.copy(scheduler.copies());
    size_t prompts = 0, decoding = 0;
    for (const BatchPart& part : parts) {
      memory.compute(part.sequence->tables, part.sequence->tokens(), part.start, part.start + part.n);
      computed += part.n;
      // What was set back is computed again like a prompt.
      (part.start >= part.sequence->n_prompt() && !part.sequence->set_back ? decoding : prompts) += part.n;
    }
    if (decoding) most_beside_decoding = std::max(most_beside_decoding, prompts);
    for (const BatchPart& part : parts) {
      const bool goes_on = part.sequence->advance(part.n);
      scheduler.publish(*part.sequence);
      if (!goes_on) scheduler.remove(part.sequence->id());
    }
    return !parts.empty();
  }
  size_t run(size_t most = 100000) {
    size_t steps = 0;
    while (steps < most && step()) steps++;
    return steps;
  }
};

}  // namespace

TEST_CASE("random requests that are added, cancelled and set back all end with their own tokens, and give all pages back") {
  const std::vector<std::vector<uint32_t>> shapes = {{0}, {0, 100}, {70}};
  uint64_t set_back = 0;
  for (const auto& windows : shapes)
    for (uint64_t seed = 0; seed < 10; seed++) {
      CAPTURE(seed);
      Numbers numbers{seed};
      const size_t cache_tokens = 64 * (8 + numbers.below(16)), batch = std::vector<size_t>{7, 64, 512}[numbers.below(3)];
      Machine machine(windows, cache_tokens, batch);
      struct Asked {
        std::vector<int32_t> prompt;
        size_t n;
        Outcome outcome;
        uint64_t id;
        bool cancelled = false;
      };
      std::vector<std::unique_ptr<Asked>> asked;
      for (int turn = 0; turn < 300; turn++) {
        if (numbers.below(4) == 0) {
          auto request = std::make_unique<Asked>();
          request->prompt = text(numbers.below(250), numbers.below(3));
          for (int32_t token : text(1 + numbers.below(100), numbers.below(5) + 10)) request->prompt.push_back(token);
          request->n = 1 + numbers.below(150);
          request->id = machine.next_id;
          Terms terms;
          terms.priority = static_cast<int32_t>(numbers.below(3));
          terms.caller = numbers.below(3);
          REQUIRE(machine.add(request->prompt, request->n, request->outcome, terms));
          asked.push_back(std::move(request));
        }
        if (numbers.below(15) == 0 && !asked.empty()) {
          Asked& one = *asked[numbers.below(asked.size())];
          if (machine.scheduler.remove(one.id)) one.cancelled = true;
        }
        if (numbers.below(40) == 0) machine.scheduler.set_back_one();
        machine.step();
      }
      machine.run();
      CHECK(machine.scheduler.running() == 0);
      CHECK(machine.scheduler.waiting() == 0);
      for (const auto& one : asked) {
        CHECK(one->outcome.ended == !one->cancelled);
        if (!one->cancelled) CHECK(one->outcome.tokens == expected(one->prompt, one->n));
      }
      CHECK(machine.cache.available_pages() == machine.cache.total_pages());
      // What was set back and has caught up has one token a step too.
      CHECK(machine.most_beside_decoding <= Scheduler::kChunk + 40);
      set_back += machine.scheduler.preemptions();
    }
  CHECK(set_back > 100);
}

TEST_CASE("a repeated prompt costs its tokens once, whether it comes at the same time, later or after its end") {
  for (const size_t length : {2000, 64 * 31, 20}) {
    Machine machine({0}, 8192);
    std::vector<Outcome> outcomes(12);
    const std::vector<int32_t> prompt = text(length, 1);
    for (size_t i = 0; i < 4; i++) REQUIRE(machine.add(prompt, 5, outcomes[i]));
    machine.step();
    for (size_t i = 4; i < 8; i++) REQUIRE(machine.add(prompt, 5, outcomes[i]));
    machine.run();
    for (size_t i = 8; i < 12; i++) REQUIRE(machine.add(prompt, 5, outcomes[i]));
    machine.run();
    for (const Outcome& outcome : outcomes) CHECK(outcome.tokens == expected(prompt, 5));
    // The prompt once; for each of the others its last token, whose logits it needs; and four generated tokens of each.
    CHECK(machine.computed == length + 11 + 12 * 4);
    for (size_t i = 1; i < 12; i++) CHECK(outcomes[i].cached == length - 1);
  }
}

TEST_CASE("a system prompt is shared by different questions, behind a window too") {
  for (const std::vector<uint32_t>& windows : {std::vector<uint32_t>{0}, {0, 512}, {512}}) {
    Machine machine(windows, 16384);
    std::vector<Outcome> outcomes(8);
    const std::vector<int32_t> system = text(2000, 1);
    size_t questions = 0;
    for (size_t i = 0; i < outcomes.size(); i++) {
      std::vector<int32_t> prompt = system;
      for (int32_t token : text(30 + i, 50 + i)) prompt.push_back(token);
      questions += 30 + i;
      REQUIRE(machine.add(prompt, 10, outcomes[i]));
      if (i >= 4) machine.run();
    }
    for (const Outcome& outcome : outcomes) CHECK(outcome.ended);
    CHECK(machine.computed == 2000 + questions + outcomes.size() * 9);
  }
}

TEST_CASE("a long prompt and a short one take turns, and streams wait for one chunk at most") {
  Machine machine({0}, 32768);
  Outcome stream, longer, shorter;
  REQUIRE(machine.add(text(5, 1), 400, stream));
  machine.run(3);
  REQUIRE(machine.add(text(8000, 2), 1, longer));
  machine.run(3);
  REQUIRE(machine.add(text(60, 3), 1, shorter));
  machine.run(1);
  CHECK(shorter.ended);
  CHECK(!longer.ended);
  machine.run(64);
  CHECK(longer.ended);
  CHECK(!stream.ended);
  CHECK(machine.most_beside_decoding == Scheduler::kChunk);
}

TEST_CASE("the highest rank gets on when pages run out, and priority is before arrival") {
  Machine machine({0}, 64 * 8);
  Outcome low, high, next;
  REQUIRE(machine.add(text(200, 1), 200, low));
  machine.run(20);
  Terms urgent;
  urgent.priority = 1;
  REQUIRE(machine.add(text(300, 2), 150, high, urgent));
  CHECK(machine.scheduler.preemptions() == 1);
  CHECK(machine.scheduler.waiting() == 1);
  REQUIRE(machine.add(text(10, 3), 5, next));
  machine.run(160);
  CHECK(high.ended);
  CHECK(!low.ended);
  machine.run();
  CHECK(low.tokens == expected(text(200, 1), 200));
  CHECK(next.tokens == expected(text(10, 3), 5));
}

TEST_CASE("a caller with much to do does not keep out another one") {
  Machine machine({0}, 64 * 8, 4);
  std::vector<Outcome> many(40);
  Outcome other;
  for (Outcome& outcome : many) REQUIRE(machine.add(text(20, 1), 40, outcome));
  Terms terms;
  terms.caller = 1;
  REQUIRE(machine.add(text(20, 2), 40, other, terms));
  size_t ended = 0;
  while (!other.ended && machine.step()) ended = static_cast<size_t>(std::count_if(many.begin(), many.end(), [](const Outcome& o) { return o.ended; }));
  CHECK(other.ended);
  CHECK(ended <= 8);
  machine.run();
  CHECK(std::all_of(many.begin(), many.end(), [](const Outcome& o) { return o.ended; }));
}

TEST_CASE("waiting requests are bounded, and those whose time is over are taken out wherever they are") {
  Machine machine({0}, 64 * 4, 512, 2);
  std::vector<Outcome> outcomes(4);
  const auto now = Sequence::Clock::now();
  for (size_t i = 0; i < 3; i++) {
    Terms terms;
    terms.deadline = now + std::chrono::seconds(i);
    REQUIRE(machine.add(text(180, i), 40, outcomes[i], terms));
  }
  CHECK(machine.scheduler.running() == 1);
  CHECK(machine.scheduler.waiting() == 2);
  const Status refused = machine.add(text(180, 9), 40, outcomes[3]);
  REQUIRE(!refused);
  CHECK(refused.error().code == ErrorCode::kQueueFull);
  CHECK(refused.error().details[0] == "2");
  machine.step();
  CHECK(machine.scheduler.take_expired(now).size() == 1);  // the running one
  CHECK(machine.cache.available_pages() == machine.cache.total_pages());
  CHECK(machine.scheduler.take_expired(now + std::chrono::milliseconds(2500)).size() == 2);
  CHECK(!machine.step());
}

}  // namespace infernode::test
