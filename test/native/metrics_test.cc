// Percentiles and rates in constant memory, against sorted lists.
#include "metrics.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

namespace infernode {

TEST_CASE("a percentile is within 5 % of the sorted list's, from microseconds to hours") {
  for (const double scale : {0.05, 3.0, 900.0, 1e6}) {
    Histogram histogram;
    std::vector<double> all;
    uint32_t x = 1;
    for (int i = 0; i < 5000; i++) {
      x = x * 1664525 + 1013904223;
      all.push_back(scale * (1 + (x >> 8) % 1000 / 50.0));
      histogram.add(all.back());
    }
    std::sort(all.begin(), all.end());
    CHECK(histogram.count() == 5000);
    for (const double p : {0.5, 0.9, 0.99}) CHECK(histogram.percentile(p) == doctest::Approx(all[static_cast<size_t>(p * 5000) - 1]).epsilon(0.06));
  }
  CHECK(Histogram{}.percentile(0.5) == 0);
  Histogram strange;
  for (const double ms : {0.0, -1.0, 1e-9, 1e300}) strange.add(ms);
  CHECK(strange.count() == 4);
}

TEST_CASE("rates are of the latest ten seconds, and fall to zero when nothing happens") {
  Metrics metrics;
  const auto begin = Metrics::Clock::now();
  const auto at = [&](double seconds) { return begin + std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000)); };
  for (int i = 0; i < 300; i++) metrics.step({10, 8, 100, 7, 8, 0}, at(i * 0.1 + 0.001));
  CHECK(metrics.rates(at(30)).generated == doctest::Approx(70).epsilon(0.02));
  CHECK(metrics.rates(at(30)).prompt == doctest::Approx(1000).epsilon(0.02));
  CHECK(metrics.rates(at(35)).generated == doctest::Approx(35).epsilon(0.1));
  CHECK(metrics.rates(at(60)).generated == 0);
  CHECK(metrics.mean_batch() == 8);
  CHECK(metrics.largest_batch() == 8);
  Metrics young;
  young.step({10, 1, 0, 50, 1, 0}, at(0.5));
  CHECK(young.rates(at(0.5)).generated == doctest::Approx(100).epsilon(0.05));
}

}  // namespace infernode
