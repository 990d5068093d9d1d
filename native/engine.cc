// A step, from what the scheduler chose to tokens: batch → plan → logits → each sequence.
#include "engine.h"

#include <algorithm>
#include <set>

namespace infernode {

void Signal::ring() {
  {
    Lock lock(mutex_);
    count_++;
  }
  condition_.notify_all();
}

uint64_t Signal::wait(uint64_t seen) {
  Lock lock(mutex_);
  condition_.wait(lock, [&] { return count_ != seen; });
  return count_;
}

uint64_t Signal::wait(uint64_t seen, std::chrono::steady_clock::time_point until) {
  Lock lock(mutex_);
  condition_.wait_until(lock, until, [&] { return count_ != seen; });
  return count_;
}

namespace {

// With LongRoPE, keys depend on how long a text may become: what one request has computed may be wrong for another.
bool keys_depend_on_length(const Plan& plan) {
  for (const PlanStep& step : plan.steps)
    if (const auto* table = std::get_if<ops::RopeTable<ValueId, WeightId>>(&step.op); table && table->long_frequencies >= 0) return true;
  return false;
}

}  // namespace

Engine::Engine(std::shared_ptr<const Plan> plan, std::shared_ptr<const Tokenizer> tokenizer, const EngineOptions& options,
               std::shared_ptr<Signal> signal)
    : plan_(std::move(plan)),
      tokenizer_(std::move(tokenizer)),
      options_(options),
      signal_(std::move(signal)),
      cache_(*plan_, options.cache_tokens, options.batch_tokens, options.keep_prefixes && !keys_depend_on_length(*plan_)),
      scheduler_(cache_, options.batch_tokens, options.max_queue) {}

Result<std::shared_ptr<Engine>> Engine::make(std::shared_ptr<const Plan> plan, std::shared_ptr<const Tokenizer> tokenizer,
                                             const EngineOptions& options, MappingRegistry& mappings,
                                             std::shared_ptr<Signal> signal) {
  std::shared_ptr<Engine> engine(new Engine(std::move(plan), std::move(tokenizer), options, std::move(signal)));
  const Limits limits{options.batch_tokens, engine->cache_.total_pages(), options.kv_type, engine->most_threads(), options.max_memory};
  INFERNODE_ASSIGN(executable, load_on_cpu(engine->plan_, mappings, options.map_files, limits, options.isa));
  engine->executable_ = std::move(executable);
  engine->memory_ = engine->executable_->memory_use();
  engine->isa_ = engine->executable_->isa();
  engine->backend_name_ = engine->executable_->backend_name();
  engine->publish_stats();
  return engine;
}

// ---- From any thread ----

Status Engine::check_tokens(const std::vector<int32_t>& tokens) const {
  for (int32_t token : tokens)
    if (token < 0 || static_cast<uint32_t>(token) >= plan_->vocab_size)
      return error(ErrorCode::kTokenUnknown, {std::to_string(token), std::to_string(plan_->vocab_size)});
  return {};
}

Status Engine::enqueue(std::unique_ptr<Sequence> sequence, CancelFlag cancelled) {
  sequence->cancelled = std::move(cancelled);
  {
    Lock lock(inbox_mutex_);
    if (closing_.load()) return error(ErrorCode::kDisposed, {"model"});
    arrived_.push_back(std::move(sequence));
  }
  signal_->ring();
  return {};
}

Status Engine::submit(uint64_t id, std::vector<int32_t> prompt, const RequestOptions& options, std::shared_ptr<RequestSink> sink,
                      CancelFlag cancelled) {
  if (plan_->logits() < 0) return error(ErrorCode::kOperationUnsupported, {"Generating text", "this plan, which has no logits"});
  if (prompt.empty()) return error(ErrorCode::kInvalidArgument, {"prompt", "at least one token", "none"});
  if (prompt.size() >= context_length())
    return error(ErrorCode::kPromptTooLong, {std::to_string(prompt.size()), std::to_string(context_length())});
  INFERNODE_TRY(check_tokens(prompt));
  INFERNODE_TRY(check_tokens(options.stop_tokens));
  // The model's context ends a text; the cache was chosen by somebody who may have to choose again.
  const size_t needed = std::min<size_t>(prompt.size() + options.max_tokens, plan_->context_length);
  if (options.max_tokens_asked && needed > options_.cache_tokens)
    return error(ErrorCode::kCacheTooSmall, {std::to_string(needed), std::to_string(options_.cache_tokens)});
  RequestOptions limited = options;
  limited.max_tokens = static_cast<uint32_t>(std::min<size_t>(options.max_tokens, context_length() - prompt.size()));
  INFERNODE_ASSIGN(sequence, Generation::make(id, std::move(prompt), limited, plan_->vocab_size, tokenizer_, std::move(sink)));
  return enqueue(std::move(sequence), std::move(cancelled));
}

Status Engine::score(uint64_t id, std::vector<int32_t> tokens, std::shared_ptr<ScoreSink> sink, CancelFlag cancelled,
                     const Terms& terms) {
  if (plan_->logits() < 0) return error(ErrorCode::kOperationUnsupported, {"Scoring text", "this plan, which has no logits"});
  if (tokens.size() < 2) return error(ErrorCode::kInvalidArgument, {"ids", "at least two tokens", std::to_string(tokens.size())});
  if (tokens.size() > context_length())
    return error(ErrorCode::kPromptTooLong, {std::to_string(tokens.size()), std::to_string(context_length())});
  INFERNODE_TRY(check_tokens(tokens));
  auto sequence = std::make_unique<Scoring>(id, std::move(tokens), std::move(sink));
  sequence->terms = terms;
  return enqueue(std::move(sequence), std::move(cancelled));
}

void Engine::cancel(uint64_t id) {
  {
    Lock lock(inbox_mutex_);
    cancelled_.push_back(id);
  }
  signal_->ring();
}

void Engine::close(std::function<void()> closed) {
  {
    Lock lock(inbox_mutex_);
    if (!closed_for_good_) {
      if (closed) closed_.push_back(std::move(closed));
      closed = nullptr;
    }
    closing_.store(true);
  }
  if (closed) return closed();
  abandon();
  signal_->ring();
}

void Engine::abandon() {
  Lock lock(inbox_mutex_);
  if (executable_) executable_->abandon();
}

// ---- On the driver thread ----

void Engine::finish_closing() {
  take_inbox();
  for (auto& sequence : scheduler_.take_all()) sequence->fail(error(ErrorCode::kDisposed, {"model"}));
  for (auto& [id, manual] : manual_) cache_.release(manual.tables);
  manual_.clear();
  {
    Lock lock(stats_mutex_);
    stats_ = {};
    watcher_ = nullptr;
  }
  // JavaScript may hold on to the engine; its memory does not wait for that.
  std::unique_ptr<Executable> executable;
  std::vector<std::function<void()>> closed;
  {
    Lock lock(inbox_mutex_);
    closed_for_good_ = true;
    closed.swap(closed_);
    executable = std::move(executable_);
  }
  executable.reset();
  for (auto& call : closed) call();
}

void Engine::take_inbox() {
  std::vector<std::unique_ptr<Sequence>> arrived;
  std::vector<uint64_t> cancelled;
  {
    Lock lock(inbox_mutex_);
    arrived.swap(arrived_);
    cancelled.swap(cancelled_);
  }
  requests_ += arrived.size();
  // First who leaves, so that who comes finds the room; then who came and left since the latest step.
  for (uint64_t id : cancelled)
    if (auto sequence = scheduler_.remove(id)) sequence->cancel();
  for (auto& sequence : arrived)
    if (sequence->cancelled && sequence->cancelled->load()) sequence->cancel();
    else if (Status status = scheduler_.add(sequence); !status) sequence->fail(status.error());
  for (uint64_t id : cancelled)
    if (auto sequence = scheduler_.remove(id)) sequence->cancel();
}

bool Engine::step(ThreadPool& pool) {
  take_inbox();
  for (auto& sequence : scheduler_.take_expired(Sequence::Clock::now())) sequence->expire();
  const std::vector<BatchPart>& parts = scheduler_.next_step();
  for (const PageCopy& copy : scheduler_.copies()) executable_->copy_page(copy.from, copy.to);
  if (parts.empty()) {
    publish_stats();
    return false;
  }
  const auto begun = Metrics::Clock::now();
  compose(parts);
  Status status = run(pool);
  computed_tokens_.fetch_add(tokens_.size());
  // Who is finished leaves before anybody is told anything: whoever hears of the end finds the pages free.
  std::vector<Sequence*> going_on;
  std::vector<std::unique_ptr<Sequence>> finished;
  for (const BatchPart& part : parts) {
    const bool goes_on = status && part.sequence->advance(part.n);
    if (status) scheduler_.publish(*part.sequence);
    if (goes_on) going_on.push_back(part.sequence);
    else finished.push_back(scheduler_.remove(part.sequence->id()));
  }
  publish_stats();
  measure(parts, std::chrono::duration<double, std::milli>(Metrics::Clock::now() - begun).count());
  for (Sequence* sequence : going_on) sequence->flush();
  for (auto& sequence : finished)
    if (status) sequence->flush();
    else sequence->fail(closing() ? error(ErrorCode::kDisposed, {"model"}) : status.error());
  return true;
}

void Engine::compose(const std::vector<BatchPart>& parts) {
  tokens_.clear();
  positions_.clear();
  output_rows_.clear();
  sequences_.clear();
  outputs_.clear();
  for (const BatchPart& part : parts) {
    sequences_.push_back({tokens_.size(), part.n, part.start, part.sequence->tables.pages(), part.sequence->capacity()});
    for (size_t position = part.start; position < part.start + part.n; position++) {
      if (part.sequence->wants_logits(position)) {
        output_rows_.push_back(static_cast<int32_t>(tokens_.size()));
        outputs_.push_back({part.sequence, position});
      }
      tokens_.push_back(part.sequence->tokens()[position]);
      positions_.push_back(static_cast<int32_t>(position));
    }
  }
}

int Engine::step_threads() const {
  return options_.prompt_threads > 0 && tokens_.size() > sequences_.size() ? options_.prompt_threads : options_.threads;
}

Status Engine::run(ThreadPool& pool) {
  const Step step{tokens_.data(), positions_.data(), tokens_.size(), sequences_.data(), sequences_.size()};
  INFERNODE_TRY(executable_->run_body(step, pool, step_threads()));
  return examine_outputs(pool);
}

// The head runs for a slice of rows at a time (logits are large), then threads share out the rows.
Status Engine::examine_outputs(ThreadPool& pool) {
  const Step step{tokens_.data(), positions_.data(), tokens_.size(), sequences_.data(), sequences_.size()};
  struct Slice {
    Engine& engine;
    size_t first, n;
  };
  for (size_t first = 0; first < outputs_.size(); first += executable_->max_outputs()) {
    Slice slice{*this, first, std::min(executable_->max_outputs(), outputs_.size() - first)};
    INFERNODE_TRY(executable_->run_head(step, output_rows_.data() + first, slice.n, pool, step_threads()));
    const auto examine = [](void* context, size_t, size_t begin, size_t end, int) {
      Slice& s = *static_cast<Slice*>(context);
      Executable& executable = *s.engine.executable_;
      for (size_t i = begin; i < end; i++) {
        const OutputRow& output = s.engine.outputs_[s.first + i];
        output.sequence->examine(output.position, executable.logits(i), s.engine.plan_->vocab_size, executable.host_kernels());
      }
    };
    const ThreadPool::Section rows{slice.n, 1};
    pool.run(slice.n == 1 ? 1 : step_threads(), &rows, 1, examine, &slice);
  }
  return {};
}

Result<std::vector<NamedRows>> Engine::evaluate(const std::vector<EvaluatePart>& parts, const std::map<std::string, Array<float>>& inputs,
                                                ThreadPool& pool) {
  if (closing()) return error(ErrorCode::kDisposed, {"model"});
  tokens_.clear();
  positions_.clear();
  sequences_.clear();
  size_t n_tokens = 0;
  std::set<int64_t> named_once;
  for (const EvaluatePart& part : parts) {
    n_tokens += part.tokens.size();
    if (!named_once.insert(part.sequence).second)
      return error(ErrorCode::kInvalidArgument, {"batch", "every sequence once", std::to_string(part.sequence) + " twice"});
  }
  if (n_tokens > options_.batch_tokens)
    return error(ErrorCode::kInvalidArgument, {"batch", "at most " + std::to_string(options_.batch_tokens) + " tokens", std::to_string(n_tokens)});
  for (const EvaluatePart& part : parts) {
    INFERNODE_TRY(check_tokens(part.tokens));
    auto& [computed, longest, tables] = manual_[part.sequence];
    if (computed == 0) longest = std::max(part.longest, part.tokens.size());
    const size_t end = computed + part.tokens.size();
    if (end > context_length()) return error(ErrorCode::kPromptTooLong, {std::to_string(end), std::to_string(context_length())});
    bool enough = cache_.extend(tables, computed, end);
    while (!enough && scheduler_.set_back_one()) enough = cache_.extend(tables, computed, end);
    if (!enough) {
      for (const EvaluatePart& p : parts)
        if (auto found = manual_.find(p.sequence); found != manual_.end() && found->second.computed == 0) forget(p.sequence);
      return error(ErrorCode::kCacheTooSmall, {std::to_string(end), std::to_string(options_.cache_tokens)});
    }
    sequences_.push_back({tokens_.size(), part.tokens.size(), computed, tables.pages(), longest});
    for (size_t i = 0; i < part.tokens.size(); i++) {
      tokens_.push_back(part.tokens[i]);
      positions_.push_back(static_cast<int32_t>(computed + i));
    }
  }
  for (size_t i = 0; i < plan_->inputs.size(); i++) {
    const PlanPort& port = plan_->inputs[i];
    const size_t width = plan_->values[static_cast<size_t>(port.value)].width;
    const auto found = inputs.find(port.name);
    if (found == inputs.end() || found->second.size() != n_tokens * width)
      return error(ErrorCode::kInvalidArgument, {"inputs." + port.name, std::to_string(n_tokens) + " × " + std::to_string(width) + " values",
                                                 found == inputs.end() ? "none" : std::to_string(found->second.size())});
    executable_->feed(i, found->second.data(), n_tokens);
  }

  const Step step{tokens_.data(), positions_.data(), n_tokens, sequences_.data(), sequences_.size()};
  INFERNODE_TRY(executable_->run_body(step, pool, step_threads()));
  std::vector<NamedRows> named;
  for (size_t i = 0; i < plan_->outputs.size(); i++) {
    const PlanPort& port = plan_->outputs[i];
    const PlanValue& value = plan_->values[static_cast<size_t>(port.value)];
    INFERNODE_ASSIGN(data, Array<float>::make(n_tokens * value.width, "the outputs"));
    named.push_back({port.name, n_tokens, value.width, std::move(data)});
    if (value.rows == RowsOf::kTokens) executable_->read(i, n_tokens, named.back().data.data());
  }
  std::vector<int32_t> rows(n_tokens);
  for (size_t i = 0; i < n_tokens; i++) rows[i] = static_cast<int32_t>(i);
  for (size_t first = 0; first < n_tokens && plan_->head_step < plan_->steps.size(); first += executable_->max_outputs()) {
    const size_t n = std::min(executable_->max_outputs(), n_tokens - first);
    INFERNODE_TRY(executable_->run_head(step, rows.data() + first, n, pool, step_threads()));
    for (size_t i = 0; i < plan_->outputs.size(); i++) {
      const PlanValue& value = plan_->values[static_cast<size_t>(plan_->outputs[i].value)];
      if (value.rows == RowsOf::kOutputs) executable_->read(i, n, named[i].data.data() + first * value.width);
    }
  }
  for (const EvaluatePart& part : parts) manual_[part.sequence].computed += part.tokens.size();
  return named;
}

void Engine::forget(int64_t sequence) {
  if (auto found = manual_.find(sequence); found != manual_.end()) {
    cache_.release(found->second.tables);
    manual_.erase(found);
  }
}

Status Engine::start_profile(size_t max_events) {
  if (!executable_) return error(ErrorCode::kDisposed, {"model"});
  return executable_->start_profile(max_events);
}

std::unique_ptr<Profile> Engine::stop_profile() { return executable_ ? executable_->stop_profile() : nullptr; }

// The parts' sequences still exist; some of them have ended.
void Engine::measure(const std::vector<BatchPart>& parts, double ms) {
  StepReport report{ms, parts.size(), tokens_.size(), 0, scheduler_.running(), scheduler_.waiting()};
  std::function<void(const StepReport&)> watcher;
  {
    Lock lock(stats_mutex_);
    for (const BatchPart& part : parts) {
      Sequence& sequence = *part.sequence;
      if (sequence.first_token_ms >= 0) metrics_.first_token(sequence.first_token_ms);
      if (sequence.token_gap_ms >= 0) {
        metrics_.token_gap(sequence.token_gap_ms);
        report.prompt_tokens--;  // what it computed was generated
      }
      report.generated_tokens += sequence.first_token_ms >= 0 || sequence.token_gap_ms >= 0;
      sequence.first_token_ms = sequence.token_gap_ms = -1;
    }
    generated_tokens_ += report.generated_tokens;
    metrics_.step(report, Metrics::Clock::now());
    watcher = watcher_;
  }
  if (watcher) watcher(report);
}

void Engine::watch_steps(std::function<void(const StepReport&)> watcher) {
  Lock lock(stats_mutex_);
  watcher_ = std::move(watcher);
}

void Engine::publish_stats() {
  Lock lock(stats_mutex_);
  stats_.memory = executable_->memory_use();
  stats_.total_pages = cache_.total_pages();
  stats_.free_pages = cache_.available_pages();
  stats_.kept_pages = cache_.kept_pages();
  stats_.shared_pages = cache_.shared_pages();
  stats_.evicted_pages = cache_.evicted_pages();
  stats_.preemptions = scheduler_.preemptions();
  stats_.kv_used_bytes = cache_.touched_pages() * stats_.memory.page_bytes;
  stats_.running = scheduler_.running();
  stats_.waiting = scheduler_.waiting();
  stats_.computed_tokens = computed_tokens_.load();
  stats_.cached_tokens = scheduler_.cached_tokens();
  stats_.requests = requests_;
}

EngineStats Engine::stats() {
  Lock lock(stats_mutex_);
  EngineStats stats = stats_;
  stats.generated_tokens = generated_tokens_;
  stats.steps = metrics_.steps();
  stats.mean_batch = metrics_.mean_batch();
  stats.largest_batch = metrics_.largest_batch();
  stats.rates = metrics_.rates(Metrics::Clock::now());
  stats.first_token = metrics_.first_token();
  stats.token_gap = metrics_.token_gap();
  return stats;
}

}  // namespace infernode
