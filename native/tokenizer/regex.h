// Runs the programs that src/tokenizer/regex.ts makes of regular expressions without a matcher of their own: backtracking, as the
// expressions' own engine does, but within a bound on its steps.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "json.h"
#include "result.h"

namespace infernode {

class Regex {
 public:
  // What matches in one text share: memory, and the steps that they may still take.
  struct Scratch {
    struct Branch {
      uint32_t at;        // the instruction to go on at
      const char* place;  // where in the text
      // Of a run: it may still end at places down to `least` (greedy), or go on for `more` characters (lazy).
      const char* least;
      int64_t more;
    };
    std::vector<Branch> branches;
    uint64_t steps = 0;
  };

  // `program` is {"sets": [[first, last, ..], ..], "code": [["set", 0], ..]}. TOKENIZER_INVALID naming `source`.
  static Result<std::shared_ptr<const Regex>> make(const json::Value& program, const std::string& source);

  // Steps for a text of so many bytes. Expressions that backtrack far take more; they get an error instead of an answer.
  static uint64_t steps_for(size_t bytes) { return uint64_t{256} * bytes + (1u << 24); }

  // The end of the match at `place` in [begin, end), well-formed UTF-8; null for none. INVALID_ARGUMENT when the steps are over.
  Result<const char*> match(const char* begin, const char* end, const char* place, Scratch& scratch) const;

 private:
  enum class Op : uint8_t { kSet, kRun, kSplit, kJump, kLook, kAtomic, kBehind, kStart, kEnd, kMatch };
  enum class Mode : uint8_t { kGreedy, kLazy, kPossessive };
  struct Instruction {
    Op op;
    Mode mode = Mode::kGreedy;
    bool negated = false;
    uint32_t a = 0, b = 0;  // a set; places
    int64_t min = 0, max = 0;
  };
  // A bit for each of the first characters, ranges for all.
  struct Set {
    struct Range {
      uint32_t first, last;
    };
    uint64_t first_bits[4] = {};
    std::vector<Range> ranges;
    bool has(uint32_t code_point) const;
  };
  struct Text;

  Result<const char*> run(const Text& text, uint32_t at, const char* place, Scratch& scratch, size_t depth) const;
  bool resume(const Text& text, size_t bottom, Scratch& scratch, uint32_t& at, const char*& place) const;
  const char* run_end(const Instruction& run, const Text& text, const char* place, Scratch& scratch) const;
  Status read_code(const json::Value& code, const std::string& source);
  Status read_sets(const json::Value& sets, const std::string& source);

  std::vector<Set> sets_;
  std::vector<Instruction> code_;
};

}  // namespace infernode
