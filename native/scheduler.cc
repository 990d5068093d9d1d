// Who is admitted, who is set back, and how the room in a step is shared out.
#include "scheduler.h"

#include <algorithm>

namespace infernode {

namespace {

// While more prompts wait for room in a step than this can be given to, the others have their turn in the next step.
constexpr size_t kLeastShare = 32;
// How often a waiting sequence lets later ones of callers with less to do go first.
constexpr uint32_t kMostPassed = 32;
// What a sequence that was set back may be expected to need beyond what it had, so that it is not soon set back again.
constexpr size_t kRoomToGoOn = 256;

bool outranks(const Sequence& a, const Sequence& b) {
  return a.terms.priority != b.terms.priority ? a.terms.priority > b.terms.priority : a.arrival < b.arrival;
}

bool all_blocks_full(const Sequence& sequence) {
  return sequence.computed() == KvCache::full_blocks(sequence.tables) * KvCache::kPositions;
}

}  // namespace

Status Scheduler::add(std::unique_ptr<Sequence>& sequence) {
  const uint64_t id = sequence->id();
  sequence->arrival = ++arrivals_;
  waiting_.push_back(std::move(sequence));
  admit();
  size_t others = 0;
  for (const auto& waiting : waiting_) others += !waiting->set_back && waiting->id() != id;
  if (others < max_queue_) return {};
  const auto it = std::find_if(waiting_.begin(), waiting_.end(), [id](const auto& s) { return s->id() == id; });
  if (it == waiting_.end() || (*it)->set_back) return {};
  sequence = std::move(*it);
  waiting_.erase(it);
  return error(ErrorCode::kQueueFull, {std::to_string(others)});
}

void Scheduler::release(Sequence& sequence) {
  cache_.release(sequence.tables, &sequence.tokens(), sequence.computed());
  sequence.runs = false;
  const auto count = running_of_caller_.find(sequence.terms.caller);
  if (--count->second == 0) running_of_caller_.erase(count);
}

std::unique_ptr<Sequence> Scheduler::remove(uint64_t id) {
  const auto is_it = [id](const std::unique_ptr<Sequence>& s) { return s->id() == id; };
  std::unique_ptr<Sequence> found;
  if (auto i = std::find_if(waiting_.begin(), waiting_.end(), is_it); i != waiting_.end()) {
    found = std::move(*i);
    waiting_.erase(i);
  } else if (auto j = std::find_if(running_.begin(), running_.end(), is_it); j != running_.end()) {
    found = std::move(*j);
    running_.erase(j);
    release(*found);
  }
  return found;
}

std::vector<std::unique_ptr<Sequence>> Scheduler::take_expired(Sequence::Clock::time_point now) {
  std::vector<uint64_t> ids;
  for (const auto* list : {&running_, &waiting_})
    for (const auto& sequence : *list)
      if (sequence->terms.deadline && *sequence->terms.deadline <= now) ids.push_back(sequence->id());
  std::vector<std::unique_ptr<Sequence>> expired;
  for (uint64_t id : ids) expired.push_back(remove(id));
  return expired;
}

std::vector<std::unique_ptr<Sequence>> Scheduler::take_all() {
  std::vector<std::unique_ptr<Sequence>> all;
  for (auto& sequence : running_) {
    release(*sequence);
    all.push_back(std::move(sequence));
  }
  for (auto& sequence : waiting_) all.push_back(std::move(sequence));
  running_.clear();
  waiting_.clear();
  return all;
}

// ---- Who runs ----

// By priority; then what was set back, as it has waited before; then callers who have the least running; then arrival.
size_t Scheduler::next_waiting() const {
  const auto load = [&](const Sequence& s) {
    if (s.set_back || s.passed >= kMostPassed) return size_t{0};
    const auto count = running_of_caller_.find(s.terms.caller);
    return count == running_of_caller_.end() ? 0 : count->second;
  };
  size_t best = 0;
  for (size_t i = 1; i < waiting_.size(); i++) {
    const Sequence &a = *waiting_[i], &b = *waiting_[best];
    if (a.terms.priority != b.terms.priority ? a.terms.priority > b.terms.priority
        : a.set_back != b.set_back ? a.set_back
        : load(a) != load(b) ? load(a) < load(b)
                             : a.arrival < b.arrival)
      best = i;
  }
  return best;
}

// Whether there are pages for what it has to compute, beside what those that run still need for what they have, and the next page
// of each of them. It may need more later: then somebody is set back.
bool Scheduler::fits(const Sequence& sequence) const {
  const size_t now = sequence.tokens().size() + 1;
  if (running_.empty()) return cache_.pages_for(std::min(now, sequence.capacity())) <= cache_.available_pages();
  const size_t later = sequence.set_back ? now + kRoomToGoOn : now;
  size_t needed = cache_.pages_for(std::min(later, sequence.capacity()));
  needed -= std::min(needed, cache_.in_use_of(sequence.tokens(), sequence.first_wanted()));
  for (const auto& other : running_) {
    const size_t its = cache_.pages_for(std::min(other->tokens().size() + 1, other->capacity()));
    needed += its > other->tables.held() ? its - other->tables.held() : cache_.n_groups();
    if (needed > cache_.available_pages()) return false;
  }
  return needed <= cache_.available_pages();
}

void Scheduler::admit() {
  while (!waiting_.empty()) {
    const size_t next = next_waiting();
    const int32_t priority = waiting_[next]->terms.priority;
    while (running_.size() >= batch_tokens_ || !fits(*waiting_[next])) {
      if (running_.empty() || running_.back()->terms.priority >= priority) return;
      set_back(*running_.back());  // comes last in the waiting line, so `next` stays
    }
    run(next);
  }
}

void Scheduler::run(size_t waiting) {
  std::unique_ptr<Sequence> sequence = std::move(waiting_[waiting]);
  waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(waiting));
  for (auto& other : waiting_)
    if (other->terms.priority == sequence->terms.priority && other->arrival < sequence->arrival) other->passed++;
  running_of_caller_[sequence->terms.caller]++;
  sequence->runs = true;
  sequence->stalled = false;
  sequence->last_turn = turn_;
  if (!sequence->set_back) sequence->start();
  const auto lower = std::find_if(running_.begin(), running_.end(), [&](const auto& other) { return outranks(*sequence, *other); });
  running_.insert(lower, std::move(sequence));
}

void Scheduler::set_back(Sequence& sequence) {
  const auto it = std::find_if(running_.begin(), running_.end(), [&](const auto& s) { return s.get() == &sequence; });
  release(sequence);
  sequence.begin_again();
  preemptions_++;
  waiting_.push_back(std::move(*it));
  running_.erase(it);
  std::erase_if(step_, [&](const BatchPart& part) { return part.sequence == &sequence; });
}

bool Scheduler::set_back_one() {
  if (running_.empty()) return false;
  set_back(*running_.back());
  return true;
}

// ---- What a step has ----

// Makes room for positions below `end`, at the cost of lower ranks. False: there is none, and it waits where it is.
bool Scheduler::grow(Sequence& sequence, size_t end) {
  while (!cache_.extend(sequence.tables, sequence.computed(), end)) {
    if (running_.back().get() == &sequence) {
      sequence.stalled = true;
      return false;
    }
    set_back(*running_.back());
  }
  sequence.stalled = false;
  return true;
}

// Whether somebody who is ahead of it is computing what it could share. Who is ahead is a strict order, and the first one waits
// for nobody, so somebody always gets on.
bool Scheduler::waits_for_another(const Sequence& sequence) const {
  const size_t begin = sequence.computed(), limit = sequence.first_wanted();
  if (!cache_.keeps_prefixes() || begin >= limit) return false;
  const std::vector<int32_t>& tokens = sequence.tokens();
  for (const auto& pointer : running_) {
    const Sequence& other = *pointer;
    if (&other == &sequence || other.stalled || other.pending() <= 1 || other.terms.priority < sequence.terms.priority) continue;
    const bool ahead = other.computed() != begin ? other.computed() > begin : other.arrival < sequence.arrival;
    if (!ahead || !KvCache::same_before(sequence.tables, other.tables, begin / KvCache::kPositions)) continue;
    // Enough that comes only later, and enough to be worth it.
    const size_t most = std::min({limit, other.tokens().size(), std::max(other.computed() + 1, begin + KvCache::kPositions)});
    size_t end = begin;
    while (end < most && tokens[end] == other.tokens()[end]) end++;
    if (end > other.computed() && KvCache::pays(end - begin, end == limit)) return true;
  }
  return false;
}

void Scheduler::attach(Sequence& sequence) {
  donors_.clear();
  for (const auto& other : running_)
    if (other.get() != &sequence) donors_.push_back({&other->tables, &other->tokens(), other->computed()});
  const size_t had = sequence.computed();
  sequence.skip_to(cache_.attach(sequence.tables, sequence.tokens(), sequence.first_wanted(), donors_, copies_));
  cached_tokens_ += sequence.computed() - had;
}

void Scheduler::add_decoding() {
  for (size_t i = 0; i < running_.size(); i++) {  // grow() removes only what comes later
    Sequence& sequence = *running_[i];
    if (sequence.pending() == 1 && grow(sequence, sequence.computed() + 1)) step_.push_back({&sequence, sequence.computed(), 1});
  }
}

void Scheduler::add_prompts() {
  prompts_.clear();
  for (const auto& sequence : running_)
    if (sequence->pending() > 1) prompts_.push_back(sequence.get());
  // Whose last turn is longest ago; of those the shortest, which is soon done.
  std::sort(prompts_.begin(), prompts_.end(), [](const Sequence* a, const Sequence* b) {
    if (a->terms.priority != b->terms.priority) return a->terms.priority > b->terms.priority;
    if (a->last_turn != b->last_turn) return a->last_turn < b->last_turn;
    return a->pending() != b->pending() ? a->pending() < b->pending() : a->arrival < b->arrival;
  });
  std::erase_if(prompts_, [&](Sequence* sequence) {
    if (!all_blocks_full(*sequence)) return false;
    if (waits_for_another(*sequence)) return true;
    attach(*sequence);
    return false;
  });

  size_t room = batch_tokens_ - std::min(batch_tokens_, step_.size());
  if (!step_.empty()) room = std::min(room, kChunk);
  // Everybody's share first, then what is left in the order of turns.
  std::vector<size_t> shares(prompts_.size());
  const size_t share = prompts_.empty() ? 0 : std::max(kLeastShare, room / prompts_.size());
  for (size_t most : {share, room})
    for (size_t i = 0; i < prompts_.size(); i++) {
      const size_t more = std::min({room, most, prompts_[i]->pending() - shares[i]});
      shares[i] += more;
      room -= more;
    }
  for (size_t i = 0; i < prompts_.size(); i++) {
    Sequence& sequence = *prompts_[i];
    if (shares[i] == 0 || !sequence.runs || !grow(sequence, sequence.computed() + shares[i])) continue;
    sequence.last_turn = turn_;
    step_.push_back({&sequence, sequence.computed(), shares[i]});
  }
}

const std::vector<BatchPart>& Scheduler::next_step() {
  turn_++;
  step_.clear();
  copies_.clear();
  admit();
  add_decoding();
  // Who stalls holds up nobody: those who waited for it go on by themselves.
  size_t stalled = 0, before;
  do {
    before = stalled;
    add_prompts();
    stalled = static_cast<size_t>(std::count_if(running_.begin(), running_.end(), [](const auto& s) { return s->stalled; }));
  } while (step_.empty() && stalled > before);
  return step_;
}

}  // namespace infernode
