// The sampler against exact probabilities, computed here in double with plain sorts, over the whole range of options.
#include "sampler.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "exp_log.h"
#include "random.h"

using namespace infernode;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Only what the sampler asks of a variant.
const cpu::KernelTable& kernels() {
  static const cpu::KernelTable table = [] {
    cpu::KernelTable t{};
    t.row_max = [](const float* x, size_t n) {
      cpu::RowMax best{-kInfinity, 0};
      for (size_t i = 0; i < n; i++)
        if (x[i] > best.value) best = {x[i], static_cast<uint32_t>(i)};
      return best;
    };
    t.exp_sum = [](const float* x, size_t n, float max) {
      double sum = 0;
      for (size_t i = 0; i < n; i++) sum += std::exp(double{x[i]} - max);
      return sum;
    };
    return t;
  }();
  return table;
}

Sampler make(const SamplingOptions& options, size_t vocab_size) {
  auto sampler = Sampler::make(options, vocab_size);
  REQUIRE(sampler);
  return std::move(*sampler);
}

SampledToken sample(Sampler& sampler, std::vector<float> logits, uint64_t position = 0) {
  auto sampled = sampler.sample(logits.data(), position, kernels());
  REQUIRE(sampled);
  return *sampled;
}

std::vector<float> random_logits(size_t n, double spread, uint64_t seed = 9) {
  std::vector<float> logits(n);
  for (size_t i = 0; i < n; i++) {
    double sum = 0;  // nearly normal
    for (uint32_t k = 0; k < 12; k++) sum += uniform(seed, k, i);
    logits[i] = static_cast<float>((sum - 6) * spread);
  }
  return logits;
}

// The definition of sampler.h, in the plainest way.
std::vector<double> expected(const std::vector<float>& logits, const SamplingOptions& o) {
  const size_t n = logits.size();
  std::vector<double> z(logits.begin(), logits.end());
  for (const auto& [id, bias] : o.logit_bias) z[static_cast<size_t>(id)] += bias;
  const double largest = *std::max_element(z.begin(), z.end());
  std::vector<double> p(n);
  for (size_t i = 0; i < n; i++) p[i] = std::exp((z[i] - largest) / o.temperature);
  const auto normalize = [&] {
    const double sum = std::accumulate(p.begin(), p.end(), 0.0);
    for (double& x : p) x /= sum;
  };
  const auto keep = [&](auto key, auto enough) {  // in order of the key, until enough(number, mass) before the next
    std::vector<size_t> order(n);
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return key(a) < key(b); });
    double mass = 0;
    std::vector<double> kept(n, 0);
    for (size_t i = 0; i < n && !enough(i, mass); i++) {
      kept[order[i]] = p[order[i]];
      mass += p[order[i]];
    }
    p = kept;
    normalize();
  };
  normalize();
  const auto improbability = [&](size_t i) { return -p[i]; };
  if (o.top_k > 0) keep(improbability, [&](size_t i, double) { return i >= static_cast<size_t>(o.top_k); });
  if (o.top_p < 1) keep(improbability, [&](size_t, double mass) { return mass >= o.top_p; });
  if (o.min_p > 0) {
    const double best = *std::max_element(p.begin(), p.end());
    for (double& x : p) x = x >= o.min_p * best ? x : 0;
    normalize();
  }
  if (o.typical_p < 1) {
    double entropy = 0;
    for (double x : p) entropy -= x > 0 ? x * std::log(x) : 0;
    keep([&](size_t i) { return p[i] > 0 ? std::abs(-std::log(p[i]) - entropy) : 1e300; },
         [&](size_t, double mass) { return mass >= o.typical_p; });
  }
  return p;
}

// Pearson's statistic may exceed its mean by 4.5 standard deviations, a chance of about one in a hundred thousand. Outcomes
// rarer than five draws are judged together.
void check_distribution(const std::vector<float>& logits, const SamplingOptions& options, int n_draws = 20000) {
  const std::vector<double> p = expected(logits, options);
  Sampler sampler = make(options, logits.size());
  std::vector<int> drawn(logits.size(), 0);
  std::vector<float> scratch;
  for (int i = 0; i < n_draws; i++) {
    scratch = logits;
    auto sampled = sampler.sample(scratch.data(), static_cast<uint64_t>(i), kernels());
    REQUIRE(sampled);
    drawn[static_cast<size_t>(sampled->token)]++;
  }
  double statistic = 0, rare = 0;
  int bins = 0, rarely = 0;
  const auto add = [&](double want, int got) {
    if (want <= 0) return;
    statistic += (got - want) * (got - want) / want;
    bins++;
  };
  for (size_t i = 0; i < p.size(); i++) {
    if (p[i] == 0) REQUIRE(drawn[i] == 0);
    if (p[i] * n_draws >= 5) add(p[i] * n_draws, drawn[i]);
    else rare += p[i] * n_draws, rarely += drawn[i];
  }
  if (rare > 1) add(rare, rarely);
  const double freedom = std::max(1, bins - 1);
  CHECK(statistic < freedom + 4.5 * std::sqrt(2 * freedom) + 8);
}

ErrorCode refusal(const SamplingOptions& options, size_t vocab_size = 10) {
  auto sampler = Sampler::make(options, vocab_size);
  REQUIRE(!sampler);
  return sampler.error().code;
}

}  // namespace

TEST_CASE("greedy takes the largest logit, of equal ones the lowest id") {
  Sampler sampler = make({}, 5);
  CHECK(sample(sampler, {1, 3, 2, 3, 0}).token == 1);
  CHECK(sample(sampler, {-5, -5, -5, -5, -5}).token == 0);
}

TEST_CASE("draws follow the softmax at any temperature") {
  for (float temperature : {0.3f, 1.0f, 2.5f}) {
    SamplingOptions options{.temperature = temperature, .seed = 11};
    check_distribution(random_logits(50, 2), options);
    check_distribution(random_logits(3000, 1), options, 60000);
  }
}

TEST_CASE("every filter keeps exactly the tokens of its definition, at their renormalized probabilities") {
  const auto logits = random_logits(200, 2);
  for (int32_t k : {1, 2, 7, 40, 199, 200, 5000}) check_distribution(logits, {.temperature = 1, .top_k = k, .seed = 1});
  for (float p : {0.01f, 0.3f, 0.5f, 0.9f, 0.99f}) check_distribution(logits, {.temperature = 1, .top_p = p, .seed = 2});
  for (float p : {0.01f, 0.2f, 0.7f, 1.0f}) check_distribution(logits, {.temperature = 1, .min_p = p, .seed = 3});
  for (float p : {0.05f, 0.3f, 0.8f, 0.97f}) check_distribution(logits, {.temperature = 1, .typical_p = p, .seed = 4});
}

TEST_CASE("filters combine in their order, each over what the one before has left") {
  const auto logits = random_logits(300, 1.5);
  check_distribution(logits, {.temperature = 0.8f, .top_k = 50, .top_p = 0.9f, .seed = 5});
  check_distribution(logits, {.temperature = 1.5f, .top_k = 50, .top_p = 0.9f, .min_p = 0.1f, .seed = 6});
  check_distribution(logits, {.temperature = 1, .top_p = 0.95f, .typical_p = 0.6f, .seed = 7});
  check_distribution(logits, {.temperature = 1.2f, .top_k = 100, .top_p = 0.8f, .min_p = 0.05f, .typical_p = 0.7f, .seed = 8});
}

TEST_CASE("of equally probable tokens, filters keep the lower ids") {
  const std::vector<float> flat(1000, 0.25f);
  for (const SamplingOptions& options : {SamplingOptions{.temperature = 1, .top_k = 10}, {.temperature = 1, .top_p = 0.0099f},
                                         {.temperature = 1, .typical_p = 0.0099f}}) {
    Sampler sampler = make(options, flat.size());
    for (uint64_t i = 0; i < 300; i++) CHECK(sample(sampler, flat, i).token < 10);
  }
  check_distribution(flat, {.temperature = 1, .top_k = 100, .seed = 3});
}

TEST_CASE("filters hold for a flat distribution over a large vocabulary") {
  check_distribution(std::vector<float>(20000, 1.0f), {.temperature = 1, .top_p = 0.5f, .seed = 2}, 2000);
  check_distribution(random_logits(5000, 0.05), {.temperature = 1, .typical_p = 0.5f, .seed = 2}, 20000);
}

TEST_CASE("extreme temperatures are the largest logit, and the uniform distribution") {
  const auto logits = random_logits(100, 3);
  const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
  for (float temperature : {1e-6f, 1e-38f, 1e-45f}) {
    Sampler cold = make({.temperature = temperature}, 100);
    for (uint64_t i = 0; i < 100; i++) CHECK(sample(cold, logits, i).token == best);
  }
  check_distribution(logits, {.temperature = 1e30f, .seed = 1});
}

TEST_CASE("logits at the ends of f32 are sampled, not overflowed") {
  constexpr float kMost = std::numeric_limits<float>::max();
  Sampler sampler = make({.temperature = 1}, 4);
  for (uint64_t i = 0; i < 50; i++) CHECK(sample(sampler, {-kMost, kMost, 0, -kMost}, i).token == 1);
  Sampler greedy = make({.repetition_penalty = 1e-30f}, 3);
  greedy.accept(2);
  CHECK(sample(greedy, {1, 2, kMost}).token == 2);
}

TEST_CASE("a draw is a function of seed, sample and position") {
  const auto logits = random_logits(500, 1);
  Sampler a = make({.temperature = 1, .seed = 5}, 500), b = make({.temperature = 1, .seed = 5}, 500);
  std::vector<int32_t> forward, backward;
  for (uint64_t i = 0; i < 50; i++) forward.push_back(sample(a, logits, i).token);
  for (uint64_t i = 50; i-- > 0;) backward.push_back(sample(b, logits, i).token);
  std::reverse(backward.begin(), backward.end());
  CHECK(forward == backward);
  const auto others = [&](const SamplingOptions& options) {
    Sampler sampler = make(options, 500);
    int same = 0;
    for (uint64_t i = 0; i < 50; i++) same += sample(sampler, logits, i).token == forward[i];
    return same;
  };
  CHECK(others({.temperature = 1, .seed = 6}) < 10);
  CHECK(others({.temperature = 1, .seed = 5, .sample = 1}) < 10);
}

TEST_CASE("repetition divides what is positive and multiplies what is negative, once per token") {
  Sampler sampler = make({.repetition_penalty = 2, .logprobs = 0}, 4);
  for (int32_t token : {0, 0, 0, 1}) sampler.accept(token);
  CHECK(sample(sampler, {4, -1, 2.1f, 0}).token == 2);   // 4 / 2 < 2.1
  CHECK(sample(sampler, {4, -1, 1.9f, 0}).token == 0);   // but not 4 / 8
  CHECK(sample(sampler, {-9, -1, -1.9f, -9}).token == 2);  // -1 * 2 < -1.9
}

TEST_CASE("presence counts once, frequency each time, and a negative one attracts") {
  Sampler presence = make({.presence_penalty = 1}, 2), frequency = make({.frequency_penalty = 1}, 2), attract = make({.frequency_penalty = -1}, 2);
  for (int i = 0; i < 3; i++) presence.accept(0), frequency.accept(0), attract.accept(1);
  CHECK(sample(presence, {1.5f, 0}).token == 0);
  CHECK(sample(presence, {0.5f, 0}).token == 1);
  CHECK(sample(frequency, {3.5f, 0}).token == 0);
  CHECK(sample(frequency, {2.5f, 0}).token == 1);
  CHECK(sample(attract, {2.5f, 0}).token == 1);
}

TEST_CASE("the order of accepted tokens does not matter, ids outside the vocabulary neither") {
  const auto logits = random_logits(50, 2);
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < 200; i++) tokens.push_back(i * i % 50);
  const SamplingOptions options{.repetition_penalty = 1.3f, .presence_penalty = 0.2f, .frequency_penalty = 0.1f, .temperature = 1};
  Sampler forward = make(options, 50), backward = make(options, 50);
  for (int32_t token : tokens) forward.accept(token);
  std::reverse(tokens.begin(), tokens.end());
  for (int32_t token : tokens) backward.accept(token);
  for (int32_t token : {-1, 50, INT32_MIN, INT32_MAX}) backward.accept(token);
  for (uint64_t i = 0; i < 200; i++) CHECK(sample(forward, logits, i).token == sample(backward, logits, i).token);
}

TEST_CASE("a penalty window forgets what is older, and remembers what comes back") {
  Sampler windowed = make({.presence_penalty = 5, .penalty_window = 3}, 8);
  std::vector<int32_t> recent;
  for (int32_t i = 0; i < 200; i++) {
    const int32_t token = i * 7 % 11 % 8;
    windowed.accept(token);
    recent.push_back(token);
    // The best token that is not among the latest three.
    int32_t want = 0;
    while (std::find(recent.end() - std::min<std::ptrdiff_t>(3, std::ssize(recent)), recent.end(), want) != recent.end()) want++;
    REQUIRE(sample(windowed, {1.7f, 1.6f, 1.5f, 1.4f, 1.3f, 1.2f, 1.1f, 1}).token == want);
  }
}

TEST_CASE("bias is added, adds up, and minus infinity forbids") {
  const auto logits = random_logits(20, 1);
  check_distribution(logits, {.logit_bias = {{3, 1.5f}, {7, -2}, {3, 0.5f}}, .temperature = 1, .seed = 4});
  check_distribution(logits, {.logit_bias = {{0, -kInfinity}, {19, -kInfinity}}, .temperature = 1, .top_k = 19, .seed = 4});
  Sampler sampler = make({.logit_bias = {{1, -kInfinity}, {1, 100}}}, 3);
  CHECK(sample(sampler, {0, 9, 1}).token == 2);
}

TEST_CASE("logprobs are of the model's own distribution") {
  const std::vector<float> logits{1, 3, 2, 3, 0};
  double z = 0;
  for (float x : logits) z += std::exp(x);
  SamplingOptions options{.presence_penalty = 9, .logit_bias = {{1, -kInfinity}}, .temperature = 0.5f, .top_k = 1, .logprobs = 3};
  Sampler sampler = make(options, 5);
  sampler.accept(3);
  const SampledToken sampled = sample(sampler, logits);
  CHECK(sampled.token == 2);
  CHECK(sampled.logprob == doctest::Approx(2 - std::log(z)));
  REQUIRE(sampled.top.size() == 3);
  CHECK(sampled.top[0].first == 1);
  CHECK(sampled.top[1].first == 3);
  CHECK(sampled.top[2].first == 2);
  CHECK(sampled.top[0].second == doctest::Approx(3 - std::log(z)));
  options.logprobs = 5;
  Sampler all = make(options, 5);
  CHECK(sample(all, logits).top.size() == 5);
  CHECK(sample(all, logits).top.back().first == 4);
}

TEST_CASE("logits that are no numbers are an error with the position") {
  for (float bad : {std::nanf(""), kInfinity, -kInfinity})
    for (size_t at : {size_t{0}, size_t{6}, size_t{12}})
      for (float temperature : {0.0f, 1.0f}) {
        std::vector<float> logits(13, 1.0f);
        logits[at] = bad;
        Sampler sampler = make({.temperature = temperature}, 13);
        auto sampled = sampler.sample(logits.data(), 77, kernels());
        REQUIRE(!sampled);
        CHECK(sampled.error().code == ErrorCode::kLogitsNotFinite);
        CHECK(sampled.error().details == std::vector<std::string>{"77"});
        CHECK(!describe_token(logits.data(), 13, 1, 0, 77, kernels()));
      }
}

TEST_CASE("impossible options are refused") {
  const float nan = std::nanf("");
  for (float x : {nan, -1.0f, kInfinity, -kInfinity}) CHECK(refusal({.temperature = x}) == ErrorCode::kInvalidArgument);
  for (int32_t k : {-1, INT32_MIN}) CHECK(refusal({.top_k = k}) == ErrorCode::kInvalidArgument);
  for (float p : {nan, 0.0f, -0.5f, 1.0001f, kInfinity}) {
    CHECK(refusal({.top_p = p}) == ErrorCode::kInvalidArgument);
    CHECK(refusal({.typical_p = p}) == ErrorCode::kInvalidArgument);
  }
  for (float p : {nan, -0.1f, 1.5f}) CHECK(refusal({.min_p = p}) == ErrorCode::kInvalidArgument);
  for (float x : {nan, 0.0f, -1.0f, kInfinity}) CHECK(refusal({.repetition_penalty = x}) == ErrorCode::kInvalidArgument);
  for (float x : {nan, kInfinity, -kInfinity}) {
    CHECK(refusal({.presence_penalty = x}) == ErrorCode::kInvalidArgument);
    CHECK(refusal({.frequency_penalty = x}) == ErrorCode::kInvalidArgument);
  }
  for (float x : {nan, kInfinity}) CHECK(refusal({.logit_bias = {{1, x}}}) == ErrorCode::kInvalidArgument);
  for (int32_t id : {-1, 10, INT32_MAX, INT32_MIN}) CHECK(refusal({.logit_bias = {{id, 1.0f}}}) == ErrorCode::kTokenUnknown);
  for (int32_t n : {-2, 11, INT32_MAX, INT32_MIN}) CHECK(refusal({.logprobs = n}) == ErrorCode::kInvalidArgument);
  CHECK(refusal({.logit_bias = {{0, -kInfinity}, {1, -kInfinity}, {1, -kInfinity}}}, 2) == ErrorCode::kInvalidArgument);
  CHECK(refusal({}, 0) == ErrorCode::kInvalidArgument);
  CHECK(refusal({}, SIZE_MAX) == ErrorCode::kInvalidArgument);
}

TEST_CASE("exp and ln are within 2 ulp") {
  double worst = 0;
  for (double z = 0; z > -87; z -= 0.00037) {
    const float x = static_cast<float>(z);
    const double exact = std::exp(double{x});
    const double ulp = static_cast<double>(std::nextafterf(static_cast<float>(exact), 2)) - static_cast<float>(exact);
    worst = std::max(worst, std::abs(exp_of_negative(x) - exact) / ulp);
  }
  CHECK(worst < 2);
  MESSAGE("exp: " << worst << " ulp");
  CHECK(exp_of_negative(0) == 1);
  CHECK(exp_of_negative(-kInfinity) == 0);
  CHECK(exp_of_negative(-1e30f) == 0);

  worst = 0;
  for (uint64_t i = 0; i < 200000; i++) {
    const double x = i % 2 ? std::ldexp(0.5 + uniform(1, 0, i), static_cast<int>(i % 600) - 300) : 0.7 + 0.7 * uniform(2, 0, i);
    const long double exact = std::log(static_cast<long double>(x));
    const double nearest = static_cast<double>(exact);
    const double ulp = std::nextafter(std::abs(nearest), 1e300) - std::abs(nearest);
    worst = std::max(worst, static_cast<double>(std::abs(natural_log(x) - exact)) / ulp);
  }
  CHECK(worst < 2);
  MESSAGE("ln: " << worst << " ulp");
  CHECK(natural_log(1) == 0);
}
