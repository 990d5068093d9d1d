// Composes steps: one token of every sequence that generates, and chunks of prompts in what room is left.
#include "scheduler.h"

#include <algorithm>

namespace infernode {

namespace {

// While others generate, a long prompt comes in chunks of this size, so that their next token does not wait for all of it.
constexpr size_t kChunkBesideDecoding = 128;

}  // namespace

Status Scheduler::add(std::unique_ptr<Sequence>& sequence) {
  if (!cache_.can_ever_hold(sequence->capacity())) {
    // The most tokens that one sequence may have, for the message.
    size_t low = 0, high = sequence->capacity();
    while (low + 1 < high) {
      const size_t middle = (low + high) / 2;
      (cache_.can_ever_hold(middle) ? low : high) = middle;
    }
    return error(ErrorCode::kCacheTooSmall, {std::to_string(sequence->capacity()), std::to_string(low)});
  }
  waiting_.push_back(std::move(sequence));
  admit();
  if (waiting_.size() <= max_queue_) return {};
  sequence = std::move(waiting_.back());
  waiting_.pop_back();
  return error(ErrorCode::kQueueFull, {std::to_string(waiting_.size())});
}

void Scheduler::release(Sequence& sequence) {
  cache_.release(sequence.tables);
  cache_.unreserve(sequence.reserved_pages);
  sequence.reserved_pages = 0;
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

void Scheduler::admit() {
  while (!waiting_.empty() && running_.size() < batch_tokens_) {
    Sequence& next = *waiting_.front();
    const size_t pages = cache_.pages_for(next.capacity());
    if (!cache_.reserve(pages)) return;
    next.reserved_pages = pages;
    next.start();
    running_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
}

const std::vector<BatchPart>& Scheduler::next_step() {
  admit();
  step_.clear();
  size_t room = batch_tokens_;
  for (auto& sequence : running_)
    if (sequence->decoding()) {
      step_.push_back({sequence.get(), sequence->computed(), 1});
      room--;
    }
  if (!step_.empty()) room = std::min(room, kChunkBesideDecoding);
  for (auto& sequence : running_) {
    if (sequence->decoding() || room == 0) continue;
    const size_t n = std::min(room, sequence->pending());
    step_.push_back({sequence.get(), sequence->computed(), n});
    room -= n;
  }
  for (size_t i = 0; i < step_.size();) {
    BatchPart& part = step_[i];
    if (cache_.extend(part.sequence->tables, part.start, part.start + part.n)) {
      i++;
      continue;
    }
    remove(part.sequence->id())->fail(error(ErrorCode::kInternal, {"a sequence outgrew the cache pages reserved for it"}));
    step_.erase(step_.begin() + static_cast<std::ptrdiff_t>(i));
  }
  return step_;
}

}  // namespace infernode
