#include "tokenizer/regex.h"

#include <algorithm>

#include "tokenizer/unicode.h"

namespace infernode {
namespace {

constexpr size_t kMaxInstructions = 8192, kMaxSets = 4096, kMaxDepth = 64;
// Branches that wait: some for each byte of a piece, and never more than this.
constexpr size_t kMaxBranches = size_t{1} << 22;

Error invalid(const std::string& source, const char* reason) {
  return error(ErrorCode::kTokenizerInvalid, {source, "a regular expression", reason});
}

const char* before(const char* begin, const char* place) {
  do place--;
  while (place > begin && (static_cast<unsigned char>(*place) & 0xC0) == 0x80);
  return place;
}

}  // namespace

struct Regex::Text {
  const char *begin, *end;
};

bool Regex::Set::has(uint32_t code_point) const {
  if (code_point < 256) return (first_bits[code_point >> 6] >> (code_point & 63) & 1) != 0;
  const auto found = std::upper_bound(ranges.begin(), ranges.end(), code_point,
                                      [](uint32_t value, const Range& range) { return value < range.first; });
  return found != ranges.begin() && code_point <= found[-1].last;
}

Result<std::shared_ptr<const Regex>> Regex::make(const json::Value& program, const std::string& source) {
  std::shared_ptr<Regex> regex(new Regex());
  INFERNODE_TRY(regex->read_sets(program.get("sets"), source));
  INFERNODE_TRY(regex->read_code(program.get("code"), source));
  return std::shared_ptr<const Regex>(std::move(regex));
}

Status Regex::read_sets(const json::Value& sets, const std::string& source) {
  if (sets.size() > kMaxSets) return invalid(source, "too many sets");
  for (const json::Value value : sets.elements()) {
    Set& set = sets_.emplace_back();
    int64_t last = -1, first = -1;
    for (const json::Value bound : value.elements()) {
      INFERNODE_ASSIGN(code_point, bound.integer());
      if (code_point < last || code_point > 0x10FFFF || code_point < first) return invalid(source, "ranges out of order");
      if (first < 0) {
        if (code_point == last) return invalid(source, "ranges that overlap");
        first = code_point;
        continue;
      }
      set.ranges.push_back({static_cast<uint32_t>(first), static_cast<uint32_t>(code_point)});
      for (int64_t c = first; c <= std::min<int64_t>(code_point, 255); c++) set.first_bits[c >> 6] |= uint64_t{1} << (c & 63);
      last = code_point;
      first = -1;
    }
    if (first >= 0) return invalid(source, "a range without an end");
  }
  return {};
}

Status Regex::read_code(const json::Value& code, const std::string& source) {
  const size_t n = code.size();
  if (n == 0 || n > kMaxInstructions) return invalid(source, "no program, or too long a one");
  static constexpr struct {
    const char* name;
    Op op;
    uint8_t sets, places;  // how many of its numbers are which, in this order
    bool negatable;
  } kOps[] = {
      {"set", Op::kSet, 1, 0, false},   {"run", Op::kRun, 1, 0, false},       {"split", Op::kSplit, 0, 2, false},
      {"jump", Op::kJump, 0, 1, false}, {"look", Op::kLook, 0, 1, true},      {"atomic", Op::kAtomic, 0, 1, false},
      {"start", Op::kStart, 0, 0, false}, {"behind", Op::kBehind, 1, 0, true}, {"end", Op::kEnd, 0, 0, false},
      {"match", Op::kMatch, 0, 0, false},
  };
  for (const json::Value value : code.elements()) {
    const std::string name = value.at(0).string();
    const auto row = std::find_if(std::begin(kOps), std::end(kOps), [&](const auto& op) { return name == op.name; });
    if (row == std::end(kOps)) return invalid(source, "an unknown instruction");
    Instruction instruction{row->op};
    uint32_t* numbers[] = {&instruction.a, &instruction.b};
    for (size_t i = 0; i < size_t{row->sets} + row->places; i++) {
      INFERNODE_ASSIGN(number, value.at(1 + i).integer());
      if (number < 0 || static_cast<uint64_t>(number) >= (row->sets ? sets_.size() : n)) return invalid(source, "a place outside");
      *numbers[i] = static_cast<uint32_t>(number);
    }
    if (row->negatable) instruction.negated = value.at(2).boolean();
    if (row->op == Op::kRun) {
      INFERNODE_ASSIGN(min, value.at(2).integer());
      INFERNODE_ASSIGN(max, value.at(3).integer());
      if (min < 0 || max < -1 || (max >= 0 && max < min)) return invalid(source, "a run of a wrong length");
      const std::string mode = value.at(4).string();
      if (mode != "greedy" && mode != "lazy" && mode != "possessive") return invalid(source, "a run of an unknown kind");
      instruction.min = min;
      instruction.max = max < 0 ? INT64_MAX : max;
      instruction.mode = mode == "greedy" ? Mode::kGreedy : mode == "lazy" ? Mode::kLazy : Mode::kPossessive;
    }
    code_.push_back(instruction);
  }
  // So nothing runs off the end.
  const Op last = code_.back().op;
  if (last != Op::kMatch && last != Op::kJump) return invalid(source, "a program without an end");
  return {};
}

// Where `run` ends if it takes as many characters as it can; null if they are too few.
const char* Regex::run_end(const Instruction& run, const Text& text, const char* place, Scratch& scratch) const {
  const Set& set = sets_[run.a];
  int64_t count = 0;
  while (count < run.max && place < text.end) {
    const unicode::Character c = unicode::decode(place, text.end);
    if (!set.has(c.code_point)) break;
    place += c.length;
    count++;
  }
  scratch.steps -= std::min(scratch.steps, static_cast<uint64_t>(count));
  return count < run.min ? nullptr : place;
}

Result<const char*> Regex::match(const char* begin, const char* end, const char* place, Scratch& scratch) const {
  return run({begin, end}, 0, place, scratch, 0);
}

// From the instruction `at` on, until a 'match'. Branches below those that were there belong to the caller.
Result<const char*> Regex::run(const Text& text, uint32_t at, const char* place, Scratch& scratch, size_t depth) const {
  const auto over = [] {
    return error(ErrorCode::kInvalidArgument, {"text", "text that the tokenizer's regular expression splits in reasonable time",
                                               "text that it takes too many steps for"});
  };
  if (depth > kMaxDepth) return over();
  std::vector<Scratch::Branch>& branches = scratch.branches;
  const size_t bottom = branches.size();
  const size_t most = std::min(kMaxBranches, 4 * static_cast<size_t>(text.end - text.begin) + 1024);
  const char* const none = nullptr;
  for (;;) {
    if (scratch.steps == 0) return over();
    scratch.steps--;
    const Instruction& now = code_[at];
    bool fails = false;
    switch (now.op) {
      case Op::kMatch:
        branches.resize(bottom);
        return place;
      case Op::kStart: fails = place != text.begin; break;
      case Op::kEnd: fails = place != text.end; break;
      case Op::kJump: at = now.a; continue;
      case Op::kSplit:
        branches.push_back({now.b, place, nullptr, 0});
        at = now.a;
        if (branches.size() > most) return over();
        continue;
      case Op::kSet: {
        const unicode::Character c = unicode::decode(place, text.end);
        fails = c.length == 0 || !sets_[now.a].has(c.code_point);
        if (!fails) place += c.length;
        break;
      }
      case Op::kBehind: {
        const bool found = place > text.begin && sets_[now.a].has(unicode::decode(before(text.begin, place), text.end).code_point);
        fails = found == now.negated;
        break;
      }
      case Op::kLook:
      case Op::kAtomic: {
        INFERNODE_ASSIGN(stop, run(text, at + 1, place, scratch, depth + 1));
        fails = (stop != nullptr) == now.negated;
        if (now.op == Op::kAtomic && stop) place = stop;
        if (!fails) {
          at = now.a;
          continue;
        }
        break;
      }
      case Op::kRun: {
        if (now.mode == Mode::kLazy) {
          Instruction least = now;
          least.max = now.min;
          const char* stop = run_end(least, text, place, scratch);
          fails = stop == nullptr;
          if (fails) break;
          place = stop;
          if (now.max > now.min) branches.push_back({at, place, nullptr, now.max - now.min});
        } else {
          const char* stop = run_end(now, text, place, scratch);
          fails = stop == nullptr;
          if (fails) break;
          if (now.mode == Mode::kGreedy && stop > place) {
            const char* least = place;
            for (int64_t i = 0; i < now.min; i++) least += unicode::decode(least, text.end).length;
            if (least < stop) branches.push_back({at, stop, least, 0});
          }
          place = stop;
        }
        if (branches.size() > most) return over();
        break;
      }
    }
    if (!fails) {
      at++;
      continue;
    }
    if (!resume(text, bottom, scratch, at, place)) return none;
  }
}

// Goes on where the latest branch waits; false if none does.
bool Regex::resume(const Text& text, size_t bottom, Scratch& scratch, uint32_t& at, const char*& place) const {
  std::vector<Scratch::Branch>& branches = scratch.branches;
  while (branches.size() > bottom) {
    Scratch::Branch& last = branches.back();
    if (last.least) {
      // A greedy run gives a character back.
      at = last.at + 1;
      place = last.place = before(text.begin, last.place);
      if (place == last.least) branches.pop_back();
      return true;
    }
    if (last.more == 0) {
      at = last.at;
      place = last.place;
      branches.pop_back();
      return true;
    }
    // A lazy run takes another.
    const unicode::Character c = unicode::decode(last.place, text.end);
    if (c.length > 0 && sets_[code_[last.at].a].has(c.code_point)) {
      at = last.at + 1;
      place = last.place += c.length;
      if (--last.more == 0) branches.pop_back();
      return true;
    }
    branches.pop_back();
  }
  return false;
}

}  // namespace infernode
