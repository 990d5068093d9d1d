// Counting durations and tokens in constant memory.
#include "metrics.h"

#include <algorithm>
#include <cmath>

namespace infernode {

void Histogram::add(double ms) {
  const double place = std::floor(std::log2(std::max(ms, kSmallest) / kSmallest) * kPerDoubling);
  counts_[std::min(static_cast<size_t>(place), counts_.size() - 1)]++;
  count_++;
}

double Histogram::percentile(double p) const {
  const double wanted = p * static_cast<double>(count_);
  uint64_t seen = 0;
  for (size_t i = 0; i < counts_.size(); i++) {
    seen += counts_[i];
    // The middle of the class, as its sizes grow by a factor.
    if (counts_[i] && static_cast<double>(seen) >= wanted) return kSmallest * std::exp2((static_cast<double>(i) + 0.5) / kPerDoubling);
  }
  return 0;
}

Percentiles Metrics::percentiles(const Histogram& histogram) {
  return {histogram.count(), histogram.percentile(0.5), histogram.percentile(0.9), histogram.percentile(0.99)};
}

void Metrics::step(const StepReport& report, Clock::time_point now) {
  steps_++;
  sequences_ += report.sequences;
  largest_batch_ = std::max(largest_batch_, report.sequences);
  const int64_t number = second_of(now);
  Second& second = seconds_[static_cast<size_t>(number) % seconds_.size()];
  if (second.number != number) second = {number, 0, 0};
  second.generated += report.generated_tokens;
  second.prompt += report.prompt_tokens;
}

Metrics::Rates Metrics::rates(Clock::time_point now) const {
  const int64_t number = second_of(now);
  Rates sum{0, 0};
  for (const Second& second : seconds_) {
    if (second.number < 0 || second.number + kSeconds < number) continue;
    sum.generated += static_cast<double>(second.generated);
    sum.prompt += static_cast<double>(second.prompt);
  }
  // The seconds counted, of which the latest is not over; and no more than there were.
  const double age = std::chrono::duration<double>(now - begin_).count();
  const double span = std::max(std::min(age, age - static_cast<double>(number) + static_cast<double>(kSeconds)), 1e-3);
  return {sum.generated / span, sum.prompt / span};
}

}  // namespace infernode
