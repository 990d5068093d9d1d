// The cpu backend: binds a plan's ops to the kernels of one ISA variant and has the compute threads share out their work.
#include "backend.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "cpu/cpu_features.h"
#include "cpu/dispatch.h"
#include "cpu/kv_layout.h"
#include "pages.h"
#include "weights.h"

namespace infernode {

namespace {

using namespace cpu;

// Rows of logits and of everything else in the head are computed in slices that fit this.
constexpr size_t kOutputArenaBytes = size_t{16} << 20;
constexpr size_t kMaxOutputs = 64;
constexpr size_t kLeastLargeCache = size_t{32} << 20;  // bytes from which pages of 2 MB are worth their first writes

#define INFERNODE_OP(Struct, name) , ops::Struct<Rows, Weight>
using BoundOp = std::variant<std::monostate INFERNODE_OPS(INFERNODE_OP)>;
#undef INFERNODE_OP

// Collects an op's operands in the order in which visit() names them …
struct Collector {
  std::vector<int32_t> ids;
  template <class T>
  void one(T id) {
    ids.push_back(id);
  }
  template <class T>
  void many(const ops::List<T>& list) {
    ids.push_back(static_cast<int32_t>(list.n));
    for (T id : list) ids.push_back(id);
  }
  void input(const char*, ValueId& v) { one(v); }
  void optional_input(const char*, ValueId& v) { one(v); }
  void output(const char*, ValueId& v) { one(v); }
  void weight(const char*, WeightId& w) { one(w); }
  void optional_weight(const char*, WeightId& w) { one(w); }
  void inputs(const char*, ops::List<ValueId>& l) { many(l); }
  void outputs(const char*, ops::List<ValueId>& l) { many(l); }
  void weights(const char*, ops::List<WeightId>& l) { many(l); }
  void optional_weights(const char*, ops::List<WeightId>& l) { many(l); }
  void attribute(const char*, float& a) { attributes.push_back(a); }
  void attribute(const char*, uint32_t& a) { attributes.push_back(a); }
  template <class Enum, size_t n>
  void attribute(const char*, Enum& a, const char* const (&)[n]) {
    attributes.push_back(static_cast<double>(a));
  }
  std::vector<double> attributes;
};

class CpuExecutable final : public Executable {
 public:
  static Result<std::unique_ptr<Executable>> load(std::shared_ptr<const Plan> plan, MappingRegistry& mappings, bool map_files,
                                                  const Limits& limits, const KernelTable& kernels) {
    std::unique_ptr<CpuExecutable> self(new CpuExecutable(std::move(plan), kernels));
    INFERNODE_TRY(self->allocate(mappings, map_files, limits));
    return std::unique_ptr<Executable>(std::move(self));
  }

  void feed(size_t input, const float* rows, size_t n_tokens) override {
    const ValueId id = plan_->inputs[input].value;
    const PlanValue& value = plan_->values[static_cast<size_t>(id)];
    for (size_t i = 0; i < n_tokens; i++)
      std::memcpy(address(id) + i * value.stride, rows + i * value.width, value.width * sizeof(float));
  }

  void copy_page(int32_t from, int32_t to) override {
    const auto at = [&](int32_t page) { return kv_.data() + static_cast<size_t>(page) * cache_.page_bytes; };
    std::memcpy(at(to), at(from), cache_.page_bytes);
  }

  Status run_body(const Step& step, ThreadPool& pool, int n_threads) override {
    INFERNODE_TRY(weights_->unchanged());
    if (!std::exchange(entered_, true)) enter_weights(pool, n_threads);
    describe(step);
    return run(0, plan_->head_step, pool, n_threads);
  }

  Status run_head(const Step& step, const int32_t* rows, size_t n, ThreadPool& pool, int n_threads) override {
    describe(step);
    batch_.output_rows = rows;
    batch_.n_outputs = n;
    return run(plan_->head_step, plan_->steps.size(), pool, n_threads);
  }

  size_t max_outputs() const override { return max_outputs_; }

  float* logits(size_t row) override {
    const ValueId id = plan_->logits();
    if (id < 0) return nullptr;
    return reinterpret_cast<float*>(address(id) + row * plan_->values[static_cast<size_t>(id)].stride);
  }

  void read(size_t output, size_t n, float* out) override {
    const ValueId id = plan_->outputs[output].value;
    const PlanValue& value = plan_->values[static_cast<size_t>(id)];
    for (size_t i = 0; i < n; i++) std::memcpy(out + i * value.width, address(id) + i * value.stride, value.width * sizeof(float));
  }

  void abandon() override { abandoned_.store(true, std::memory_order_relaxed); }

  Status start_profile(size_t max_events) override {
    INFERNODE_ASSIGN(profile, Profile::make(max_events));
    profile_ = std::make_unique<Profile>(std::move(profile));
    return {};
  }
  std::unique_ptr<Profile> stop_profile() override { return std::move(profile_); }

  MemoryUse memory_use() const override {
    return {weights_ ? weights_->bytes() : 0, kv_.size(), cache_.page_bytes, token_arena_.size() + output_arena_.size() + workspace_.size()};
  }
  const char* backend_name() const override { return "cpu"; }
  const char* isa() const override { return kernels_.isa; }
  const KernelTable& host_kernels() const override { return kernels_; }

 private:
  CpuExecutable(std::shared_ptr<const Plan> plan, const KernelTable& kernels) : plan_(std::move(plan)), kernels_(kernels) {}

  Status allocate(MappingRegistry& mappings, bool map_files, const Limits& limits) {
    max_tokens_ = limits.batch_tokens;
    max_outputs_ = plan_->output_row_bytes ? std::clamp<size_t>(kOutputArenaBytes / plan_->output_row_bytes, 1, kMaxOutputs) : kMaxOutputs;
    cache_.type = limits.kv_type;
    cache_.n_kv_heads = plan_->n_kv_heads;
    cache_.head_dim = plan_->head_dim;
    if (!plan_->kv_groups.empty()) {
      cache_.slot_bytes = slot_bytes(limits.kv_type, plan_->n_kv_heads, plan_->head_dim);
      cache_.page_bytes = cache_.slot_bytes * plan_->kv_groups[0].layers.size();
      layer_group_.resize(plan_->n_layers);
      layer_slot_.resize(plan_->n_layers);
      for (uint32_t g = 0; g < plan_->kv_groups.size(); g++)
        for (uint32_t slot = 0; slot < plan_->kv_groups[g].layers.size(); slot++) {
          layer_group_[plan_->kv_groups[g].layers[slot]] = g;
          layer_slot_[plan_->kv_groups[g].layers[slot]] = slot;
        }
      if (limits.kv_pages > SIZE_MAX / cache_.page_bytes)
        return error(ErrorCode::kOutOfMemory,
                     {"the KV cache", std::to_string(limits.kv_pages) + " × " + std::to_string(cache_.page_bytes)});
    }
    const size_t kv_bytes = limits.kv_pages * cache_.page_bytes;
    INFERNODE_ASSIGN(token_arena, Pages::make(max_tokens_ * plan_->token_row_bytes, "activations"));
    INFERNODE_ASSIGN(output_arena, Pages::make(max_outputs_ * plan_->output_row_bytes, "logits"));
    INFERNODE_ASSIGN(kv, Pages::make(kv_bytes, "the KV cache", kv_bytes >= kLeastLargeCache));
    token_arena_ = std::move(token_arena);
    output_arena_ = std::move(output_arena);
    kv_ = std::move(kv);
    cache_.pool = kv_.data();
    cache_.layer_group = layer_group_.data();
    cache_.layer_slot = layer_slot_.data();
    bind();  // without weights: kernels tell what workspace they need by shapes alone
    const size_t workspace_bytes = largest_workspace(limits.threads);
    // So far only address space was taken.
    if (limits.memory > 0) {
      const uint64_t weights_bytes = Weights::memory_for(*plan_, map_files);
      const uint64_t scratch = token_arena_.size() + output_arena_.size() + workspace_bytes;
      const uint64_t needed = weights_bytes + kv_bytes + scratch;
      if (needed > limits.memory)
        return error(ErrorCode::kMemoryLimit, {std::to_string(needed), std::to_string(limits.memory), std::to_string(weights_bytes),
                                               std::to_string(kv_bytes), std::to_string(scratch)});
      workspace_limit_ = static_cast<size_t>(limits.memory - needed) + workspace_bytes;
    }
    INFERNODE_TRY(reserve_workspace(workspace_bytes));
    entered_ = !map_files;
    INFERNODE_ASSIGN(weights, Weights::load(*plan_, mappings, map_files));
    weights_ = std::move(weights);
    bind();
    return {};
  }

  std::byte* address(ValueId id) {
    const PlanValue& value = plan_->values[static_cast<size_t>(id)];
    return value.rows == RowsOf::kTokens ? token_arena_.data() + value.offset * max_tokens_
                                         : output_arena_.data() + value.offset * max_outputs_;
  }

  Rows rows_of(ValueId id) {
    if (id < 0) return {};
    const PlanValue& value = plan_->values[static_cast<size_t>(id)];
    return {address(id), value.stride, 0, value.width, value.type};
  }

  Weight weight_of(WeightId id) {
    if (id < 0) return {};
    const PlanWeight& weight = plan_->weights[static_cast<size_t>(id)];
    const TensorType type = weight.vector ? TensorType::kF32 : weight.type;
    Weight bound{nullptr, weight.rows, weight.cols, row_bytes(type, weight.cols), type, 0};
    bound.activations = info(type).activations;
    bound.n_experts = weight.n_experts;
    if (!weights_) return bound;  // not loaded yet
    bound.data = weights_->data(id);
    bound.readable_after = weights_->readable_after(id);
    bound.experts = weights_->experts(id);
    return bound;
  }

  // … and puts what they stand for into the same op over rows and weights.
  struct Binder {
    CpuExecutable& self;
    const Collector& from;
    size_t next_id = 0, next_attribute = 0;

    void value(Rows& rows) {
      const ValueId id = from.ids[next_id++];
      rows = self.rows_of(id);
      if (id >= 0) self.live_rows(id).push_back(&rows.n);
    }
    void values(ops::List<Rows>& list) {
      list.n = static_cast<uint32_t>(from.ids[next_id++]);
      for (Rows& rows : list) value(rows);
    }
    void input(const char*, Rows& v) { value(v); }
    void optional_input(const char*, Rows& v) { value(v); }
    void output(const char*, Rows& v) { value(v); }
    void weight(const char*, Weight& w) { w = self.weight_of(from.ids[next_id++]); }
    void optional_weight(const char* name, Weight& w) { weight(name, w); }
    void inputs(const char*, ops::List<Rows>& l) { values(l); }
    void outputs(const char*, ops::List<Rows>& l) { values(l); }
    void weights(const char* name, ops::List<Weight>& list) {
      list.n = static_cast<uint32_t>(from.ids[next_id++]);
      for (Weight& w : list) weight(name, w);
    }
    void optional_weights(const char* name, ops::List<Weight>& l) { weights(name, l); }
    void attribute(const char*, float& a) { a = static_cast<float>(from.attributes[next_attribute++]); }
    void attribute(const char*, uint32_t& a) { a = static_cast<uint32_t>(from.attributes[next_attribute++]); }
    template <class Enum, size_t n>
    void attribute(const char*, Enum& a, const char* const (&)[n]) {
      a = static_cast<Enum>(from.attributes[next_attribute++]);
    }
  };

  std::vector<size_t*>& live_rows(ValueId id) {
    return plan_->values[static_cast<size_t>(id)].rows == RowsOf::kTokens ? token_counts_ : output_counts_;
  }

  // Once per model: every op's operands as addresses. A step only sets how many rows there are.
  void bind() {
    ops_.clear();
    token_counts_.clear();
    output_counts_.clear();
    ops_.resize(plan_->steps.size());
    for (size_t i = 0; i < ops_.size(); i++) {
      auto bind_op = [&]<template <class, class> class Op>(Op<ValueId, WeightId> op) {
        Collector collector;
        op.visit(collector);
        auto& bound = ops_[i].emplace<Op<Rows, Weight>>();
        bound.visit(Binder{*this, collector});
      };
      std::visit(
          [&](const auto& op) {
            if constexpr (!std::is_same_v<std::decay_t<decltype(op)>, std::monostate>) bind_op(op);
          },
          plan_->steps[i].op);
    }
  }

  // Before the first step, all threads take the page faults that its matmuls would meet one by one: half the time, and the
  // processor's own prefetching is not cut off at every 64 KB. Experts and embeddings are left out, as few of their rows may be read.
  void enter_weights(ThreadPool& pool, int n_threads) {
    constexpr size_t kPieceBytes = size_t{2} << 20;
    struct Range {
      const std::byte* data;
      size_t bytes;
    };
    std::vector<Range> pieces;
    for (const BoundOp& bound : ops_)
      if (const auto* linear = std::get_if<ops::Linear<Rows, Weight>>(&bound))
        for (const Weight& weight : linear->weight)
          for (size_t at = 0, bytes = weight.rows * weight.row_bytes; at < bytes; at += kPieceBytes)
            pieces.push_back({weight.data + at, std::min(kPieceBytes, bytes - at)});
    const ThreadPool::Section section{pieces.size(), 1};
    pool.run(
        n_threads, &section, 1,
        [](void* context, size_t, size_t begin, size_t end, int) {
          const auto& pieces = *static_cast<const std::vector<Range>*>(context);
          for (size_t i = begin; i < end; i++) enter_page_table(pieces[i].data, pieces[i].bytes);
        },
        &pieces);
  }

  void describe(const Step& step) {
    sequences_.resize(step.n_sequences);
    for (size_t i = 0; i < step.n_sequences; i++) {
      const StepSequence& s = step.sequences[i];
      sequences_[i] = {s.first_row, s.n_rows, s.start, s.pages, s.longest};
    }
    batch_ = {};
    batch_.tokens = step.tokens;
    batch_.positions = step.positions;
    batch_.n_tokens = step.n_tokens;
    batch_.sequences = sequences_.data();
    batch_.n_sequences = sequences_.size();
    batch_.cache = cache_;
  }

  // A section of a run: one phase of one op.
  struct Work {
    const BoundOp* op;
    bool merges;
  };

  template <class Op>
  const Kernel<Op>& kernel_of(const Op&) const {
#define INFERNODE_OP(Struct, name) \
  if constexpr (std::is_same_v<Op, ops::Struct<Rows, Weight>>) return kernels_.name;
    INFERNODE_OPS(INFERNODE_OP)
#undef INFERNODE_OP
  }

  Status run(size_t first, size_t last, ThreadPool& pool, int n_threads) {
    n_threads = std::clamp(n_threads, 1, pool.size());
    for (size_t* n : token_counts_) *n = batch_.n_tokens;
    for (size_t* n : output_counts_) *n = batch_.n_outputs;
    batch_.n_threads = static_cast<size_t>(n_threads);

    size_t scratch = 0, shared = 0;
    work_.clear();
    sections_.clear();
    for (size_t i = first; i < last; i++)
      std::visit(
          [&](const auto& op) {
            if constexpr (!std::is_same_v<std::decay_t<decltype(op)>, std::monostate>) {
              const auto& kernel = kernel_of(op);
              if (kernel.scratch_bytes) scratch = std::max(scratch, kernel.scratch_bytes(op, batch_));
              if (kernel.shared_bytes) shared = std::max(shared, kernel.shared_bytes(op, batch_));
              add_section(kernel.items(op, batch_), kernel.even, {&ops_[i], false});
              if (kernel.merge_items) add_section(kernel.merge_items(op, batch_), kernel.even, {&ops_[i], true});
            }
          },
          ops_[i]);

    scratch_bytes_ = padded(scratch);
    INFERNODE_TRY(reserve_workspace(padded(shared) + scratch_bytes_ * static_cast<size_t>(n_threads)));
    batch_.shared = workspace_.data();
    thread_scratch_ = workspace_.data() + padded(shared);

    if (profile_) profile_->begin_run(about_run(first < plan_->head_step));
    pool.run(
        n_threads, sections_.data(), sections_.size(),
        [](void* self, size_t section, size_t begin, size_t end, int thread) {
          static_cast<CpuExecutable*>(self)->do_piece(section, {begin, end}, thread);
        },
        this);
    if (profile_) profile_->end_run();
    if (abandoned_.load(std::memory_order_relaxed)) return error(ErrorCode::kAborted, {"The step"});
    return {};
  }

  static size_t padded(size_t bytes) { return (bytes + 63) & ~size_t{63}; }

  // What no step needs more than. Kernels ask for scratch by rows alone, and their share of the workspace is bounded.
  size_t largest_workspace(int n_threads) {
    for (size_t* n : token_counts_) *n = max_tokens_;
    for (size_t* n : output_counts_) *n = max_outputs_;
    batch_ = {};
    batch_.cache = cache_;
    size_t scratch = 0, shared = 0;
    for (const BoundOp& bound : ops_)
      std::visit(
          [&](const auto& op) {
            if constexpr (!std::is_same_v<std::decay_t<decltype(op)>, std::monostate>) {
              const auto& kernel = kernel_of(op);
              if (kernel.scratch_bytes) scratch = std::max(scratch, kernel.scratch_bytes(op, batch_));
              if (kernel.shared_bytes) shared = kMaxSharedBytes;
            }
          },
          bound);
    return shared + padded(scratch) * static_cast<size_t>(n_threads);
  }

  // Address space: a step writes to what it uses. Kept from step to step, and what is large enough is never given back.
  Status reserve_workspace(size_t bytes) {
    if (bytes <= workspace_.size()) return {};
    if (bytes > workspace_limit_)
      return error(ErrorCode::kOutOfMemory, {"the kernels' workspace (maxMemory leaves " + std::to_string(workspace_limit_) + ")", std::to_string(bytes)});
    workspace_ = Pages();  // first, so that both are never held
    INFERNODE_ASSIGN(workspace, Pages::make(bytes, "the kernels' workspace"));
    workspace_ = std::move(workspace);
    return {};
  }

  ProfileRun about_run(bool body) const {
    ProfileRun run{0, 0, batch_.n_tokens, batch_.n_outputs, 0, 0, static_cast<uint32_t>(batch_.n_threads), body};
    for (const KvSequence& s : sequences_) {
      run.positions += s.start + s.n_rows;
      run.pairs += s.n_rows * s.start + s.n_rows * (s.n_rows + 1) / 2;
    }
    return run;
  }

  // Pieces small enough that a thread slowed down by a neighbour leaves its share to others. Of even work a thread has three
  // quarters of its share in one piece first: each piece begins in memory that nobody has asked for ahead.
  void add_section(size_t items, bool even, Work work) {
    if (items == 0) return;
    work_.push_back(work);
    const size_t share = items / batch_.n_threads;
    sections_.push_back({items, std::max<size_t>(1, share / (even ? 16 : 8)), even ? share * 3 / 4 : 0});
  }

  void do_piece(size_t section, Range items, int thread) {
    if (abandoned_.load(std::memory_order_relaxed)) return;  // nobody will look at the results
    std::byte* scratch = thread_scratch_ + scratch_bytes_ * static_cast<size_t>(thread);
    const Work& work = work_[section];
    const uint64_t begin = profile_ ? profile_->now() : 0;
    std::visit(
        [&](const auto& op) {
          if constexpr (!std::is_same_v<std::decay_t<decltype(op)>, std::monostate>) {
            const auto& kernel = kernel_of(op);
            (work.merges ? kernel.merge : kernel.run)(op, batch_, items, scratch);
          }
        },
        *work.op);
    if (profile_) profile_->add(static_cast<uint32_t>(work.op - ops_.data()), thread, begin);
  }

  std::shared_ptr<const Plan> plan_;
  const KernelTable& kernels_;
  std::shared_ptr<const Weights> weights_;
  Pages token_arena_, output_arena_, kv_, workspace_;
  size_t max_tokens_ = 0, max_outputs_ = 0;
  KvCacheView cache_;
  std::vector<uint32_t> layer_group_, layer_slot_;
  std::vector<BoundOp> ops_;
  std::vector<size_t*> token_counts_, output_counts_;  // the row counts inside ops_

  // Of the running step.
  Batch batch_;
  std::vector<KvSequence> sequences_;
  std::vector<Work> work_;
  std::vector<ThreadPool::Section> sections_;  // of each work
  size_t scratch_bytes_ = 0;
  std::byte* thread_scratch_ = nullptr;
  size_t workspace_limit_ = SIZE_MAX;
  bool entered_ = false;  // the weights, into the page table
  std::unique_ptr<Profile> profile_;  // while somebody asked
  std::atomic<bool> abandoned_{false};
};

}  // namespace

Result<std::unique_ptr<Executable>> load_on_cpu(std::shared_ptr<const Plan> plan, MappingRegistry& mappings, bool map_files,
                                                const Limits& limits, const std::string& isa) {
  INFERNODE_ASSIGN(kernels, cpu::choose_kernels(cpu::CpuFeatures::detect(), isa));
  return CpuExecutable::load(std::move(plan), mappings, map_files, limits, *kernels);
}

}  // namespace infernode
