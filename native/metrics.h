// What an engine knows of its own speed: counts of fixed size, however long it runs.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace infernode {

// Durations in milliseconds, counted by size: eight classes per doubling from 1/64 ms on, so a percentile is right within 5 %.
class Histogram {
 public:
  void add(double ms);
  // The duration that the share `p` (0 to 1) of all is not longer than; 0 without any.
  double percentile(double p) const;
  uint64_t count() const { return count_; }

 private:
  static constexpr size_t kPerDoubling = 8, kDoublings = 36;  // to 12 days
  static constexpr double kSmallest = 1.0 / 64;
  std::array<uint64_t, kPerDoubling * kDoublings> counts_{};
  uint64_t count_ = 0;
};

struct Percentiles {
  uint64_t count;
  double p50, p90, p99;
};

// One step, as whoever watches them is told.
struct StepReport {
  double ms;
  size_t sequences;         // in the batch
  size_t prompt_tokens;     // of prompts, and of texts that are computed again
  size_t generated_tokens;  // sequences that went on by one token
  size_t running, waiting;  // after it
};

class Metrics {
 public:
  using Clock = std::chrono::steady_clock;

  void step(const StepReport& report, Clock::time_point now);
  void first_token(double ms) { first_token_.add(ms); }
  void token_gap(double ms) { token_gap_.add(ms); }

  // Tokens per second over the latest ten seconds.
  struct Rates {
    double generated, prompt;
  };
  Rates rates(Clock::time_point now) const;
  Percentiles first_token() const { return percentiles(first_token_); }
  Percentiles token_gap() const { return percentiles(token_gap_); }
  uint64_t steps() const { return steps_; }
  // Sequences in a step.
  double mean_batch() const { return steps_ ? static_cast<double>(sequences_) / static_cast<double>(steps_) : 0; }
  size_t largest_batch() const { return largest_batch_; }

 private:
  static Percentiles percentiles(const Histogram& histogram);

  static constexpr int64_t kSeconds = 10;
  struct Second {
    int64_t number = -1;
    uint64_t generated = 0, prompt = 0;
  };
  int64_t second_of(Clock::time_point time) const { return std::chrono::duration_cast<std::chrono::seconds>(time - begin_).count(); }

  const Clock::time_point begin_ = Clock::now();
  std::array<Second, kSeconds + 1> seconds_;
  Histogram first_token_, token_gap_;
  uint64_t steps_ = 0, sequences_ = 0;
  size_t largest_batch_ = 0;
};

}  // namespace infernode
