// The shape rule of every op, as far as memory safety hangs on it. src/graph/ops.ts has the full rules, and tells people.
#include "plan.h"

namespace infernode {

namespace {

class Checker {
 public:
  Checker(const Plan& plan, const PlanStep& step) : plan_(plan), step_(step) {}
  Status status;

  void expect(bool condition, const char* what) {
    if (!condition && status) status = error(ErrorCode::kPlanInvalid, {"steps." + step_.label, what});
  }
  const PlanValue& value(ValueId id) const { return plan_.values[static_cast<size_t>(id)]; }
  const PlanWeight& weight(WeightId id) const { return plan_.weights[static_cast<size_t>(id)]; }
  const Plan& plan() const { return plan_; }

  // An f32 value of this width with the rows of `like`.
  void expect_f32(ValueId id, uint64_t width, RowsOf rows, const char* what) {
    expect(value(id).type == TensorType::kF32 && value(id).width == width && value(id).rows == rows, what);
  }
  void expect_same(ValueId id, ValueId like, const char* what) { expect_f32(id, value(like).width, value(like).rows, what); }
  // Outputs that are x in one of the activation types.
  void expect_activations(const ops::List<ValueId>& list, ValueId x, const char* what) {
    for (ValueId id : list) expect(value(id).width == value(x).width && value(id).rows == value(x).rows, what);
  }

 private:
  const Plan& plan_;
  const PlanStep& step_;
};

template <template <class, class> class Op>
using InPlan = const Op<ValueId, WeightId>&;

void check(Checker& c, InPlan<ops::Embedding> op) {
  c.expect(c.weight(op.table).matrix(), "table is not a matrix");
  c.expect(c.weight(op.table).rows >= c.plan().vocab_size, "table has fewer rows than the vocabulary");
  c.expect_f32(op.out, c.weight(op.table).cols, RowsOf::kTokens, "out is not [tokens, cols of table]");
}

void check(Checker& c, InPlan<ops::PositionEmbedding> op) {
  c.expect(c.weight(op.table).matrix(), "table is not a matrix");
  c.expect(c.weight(op.table).rows >= c.plan().context_length, "table has fewer rows than a context has positions");
  c.expect_f32(op.out, c.weight(op.table).cols, RowsOf::kTokens, "out is not [tokens, cols of table]");
}

void check(Checker& c, InPlan<ops::Linear> op) {
  const PlanValue& x = c.value(op.x[0]);
  for (ValueId id : op.x) c.expect(c.value(id).width == x.width && c.value(id).rows == x.rows, "the inputs differ in shape");
  for (WeightId id : op.weight) {
    const PlanWeight& weight = c.weight(id);
    c.expect(weight.matrix() && weight.cols == x.width, "a weight's columns are not the input's width");
    bool found = false;
    for (ValueId input : op.x) found |= c.value(input).type == info(weight.type).activations;
    c.expect(found, "the input is missing in the type that a weight reads");
  }
  const bool gated = op.epilogue == ops::Epilogue::kSwiglu || op.epilogue == ops::Epilogue::kGeglu;
  if (gated) {
    c.expect(op.weight.n == 2 && op.out.n == 1 && c.weight(op.weight[0]).rows == c.weight(op.weight[1]).rows,
             "gating takes two weights of one shape and one output");
  } else {
    c.expect(op.out.n == op.weight.n, "one output per weight is expected");
  }
  for (uint32_t i = 0; i < op.out.n; i++) c.expect_f32(op.out[i], c.weight(op.weight[i]).rows, x.rows, "out is not [rows of x, rows of weight]");
  c.expect(op.bias.n == 0 || op.bias.n == op.weight.n, "one bias per weight is expected");
  for (uint32_t i = 0; i < op.bias.n; i++)
    c.expect(op.bias[i] < 0 || (c.weight(op.bias[i]).vector && c.weight(op.bias[i]).cols == c.weight(op.weight[i]).rows),
             "a bias does not have the weight's rows");
  c.expect((op.epilogue == ops::Epilogue::kAdd) == (op.residual >= 0), "residual and epilogue do not agree");
  if (op.residual >= 0) c.expect_same(op.residual, op.out[0], "residual is not like out");
}

void check(Checker& c, InPlan<ops::RmsNorm> op) {
  const PlanWeight& weight = c.weight(op.weight);
  const PlanValue& x = c.value(op.x);
  c.expect(x.type == TensorType::kF32, "x is not f32");
  c.expect(weight.vector && x.width % weight.cols == 0, "the width of x is not a multiple of the weight's");
  c.expect_activations(op.out, op.x, "out is not like x");
  for (ValueId id : op.out)
    c.expect(c.value(id).type == TensorType::kF32 || weight.cols == x.width, "only whole rows are normalized into int8");
}

void check(Checker& c, InPlan<ops::LayerNorm> op) {
  const PlanValue& x = c.value(op.x);
  c.expect(x.type == TensorType::kF32, "x is not f32");
  for (WeightId id : {op.weight, op.bias})
    c.expect(id < 0 || (c.weight(id).vector && c.weight(id).cols == x.width), "a weight is not a vector of the width of x");
  c.expect_activations(op.out, op.x, "out is not like x");
}

void check(Checker& c, InPlan<ops::RopeTable> op) {
  const PlanWeight& frequencies = c.weight(op.frequencies);
  c.expect(frequencies.vector, "frequencies are not a vector");
  if (op.long_frequencies >= 0) {
    const PlanWeight& longer = c.weight(op.long_frequencies);
    c.expect(longer.vector && longer.cols == frequencies.cols, "longFrequencies are not as many as frequencies");
  }
  c.expect_f32(op.out, 2 * frequencies.cols, RowsOf::kTokens, "out is not [tokens, 2 · frequencies]");
}

void check(Checker& c, InPlan<ops::Rope> op) {
  c.expect(op.head_dim > 0 && c.value(op.x).width % op.head_dim == 0, "the width of x is not a multiple of headDim");
  c.expect(c.value(op.table).width <= op.head_dim, "the table is wider than a head");
  c.expect_f32(op.table, c.value(op.table).width, c.value(op.x).rows, "table is not f32 with the rows of x");
  c.expect(c.value(op.table).width % 2 == 0, "the table has an odd width");
  c.expect_same(op.x, op.out, "x is not like out");
  c.expect_same(op.out, op.x, "out is not like x");
}

void check(Checker& c, InPlan<ops::Route> op) {
  const uint32_t experts = c.value(op.x).width;
  // Numbers of experts are stored as f32.
  c.expect(op.active > 0 && op.active <= experts && experts <= 1u << 16, "active is not from 1 to the number of experts");
  c.expect_f32(op.x, experts, c.value(op.out).rows, "x is not f32 with the rows of out");
  c.expect_f32(op.out, 2 * uint64_t{op.active}, c.value(op.x).rows, "out is not [rows of x, 2 · active]");
}

// The routing of a mixture: gives how many experts each row has.
uint64_t check_routing(Checker& c, ValueId routing, ValueId out) {
  const PlanValue& value = c.value(routing);
  c.expect(value.type == TensorType::kF32 && value.width % 2 == 0 && value.rows == c.value(out).rows,
           "routing is not f32 with an even width and the rows of out");
  return value.width / 2;
}

// Each x has this width, and one is in the type that products with the weight read.
void check_expert_input(Checker& c, const ops::List<ValueId>& x, uint64_t width, RowsOf rows, const PlanWeight& weight) {
  bool found = false;
  for (ValueId id : x) {
    c.expect(c.value(id).width == width && c.value(id).rows == rows, "an input does not have the shape that the experts read");
    found |= c.value(id).type == info(weight.type).activations;
  }
  c.expect(found, "the input is missing in the type that a weight reads");
  // An expert's share of a row is whole blocks.
  c.expect(weight.cols % info(info(weight.type).activations).block_values == 0, "an expert's input is not whole blocks");
}

void check(Checker& c, InPlan<ops::ExpertsSwiglu> op) {
  const PlanWeight &gate = c.weight(op.gate), &up = c.weight(op.up);
  c.expect(gate.n_experts > 0 && up.n_experts == gate.n_experts && up.rows == gate.rows && up.cols == gate.cols,
           "gate and up are not stacks of one shape");
  const uint64_t active = check_routing(c, op.routing, op.out);
  for (const PlanWeight* weight : {&gate, &up}) check_expert_input(c, op.x, gate.cols, c.value(op.out).rows, *weight);
  c.expect_f32(op.out, active * gate.rows, c.value(op.out).rows, "out is not [rows of x, active · rows of gate]");
}

void check(Checker& c, InPlan<ops::ExpertsSum> op) {
  const PlanWeight& down = c.weight(op.down);
  c.expect(down.n_experts > 0, "down is not a stack");
  const uint64_t active = check_routing(c, op.routing, op.out);
  check_expert_input(c, op.x, active * down.cols, c.value(op.out).rows, down);
  c.expect_f32(op.out, down.rows, c.value(op.out).rows, "out is not [rows of x, rows of down]");
}

void check_cache(Checker& c, uint32_t layer) { c.expect(layer < c.plan().n_layers, "the layer has no cache"); }

void check(Checker& c, InPlan<ops::KvWrite> op) {
  check_cache(c, op.layer);
  const uint64_t width = uint64_t{c.plan().n_kv_heads} * c.plan().head_dim;
  c.expect_f32(op.k, width, RowsOf::kTokens, "k is not [tokens, KV heads · headDim]");
  c.expect_f32(op.v, width, RowsOf::kTokens, "v is not [tokens, KV heads · headDim]");
}

void check(Checker& c, InPlan<ops::Attention> op) {
  check_cache(c, op.layer);
  c.expect(op.head_dim == c.plan().head_dim && op.head_dim > 0, "headDim is not the cache's");
  const uint64_t per_group = uint64_t{op.head_dim} * c.plan().n_kv_heads;
  c.expect(per_group > 0 && c.value(op.q).width % per_group == 0, "the query heads are not a multiple of the KV heads");
  c.expect_f32(op.q, c.value(op.q).width, RowsOf::kTokens, "q is not f32 with rows of tokens");
  c.expect_same(op.out, op.q, "out is not like q");
  // A group gives back pages behind its window: an op that looks further would find them gone.
  for (const PlanKvGroup& group : c.plan().kv_groups)
    for (uint32_t layer : group.layers)
      if (layer == op.layer && group.window) c.expect(op.window > 0 && op.window <= group.window, "the window is wider than its group's");
}

void check(Checker& c, InPlan<ops::Quantize> op) {
  c.expect(c.value(op.x).type == TensorType::kF32, "x is not f32");
  c.expect_activations(op.out, op.x, "out is not like x");
  for (ValueId id : op.out) c.expect(c.value(id).type != TensorType::kF32, "out is f32");
}

void check_binary(Checker& c, ValueId a, ValueId b, ValueId out) {
  c.expect_same(a, out, "an operand is not like out");
  c.expect_same(b, out, "an operand is not like out");
  c.expect_same(out, a, "out is not f32");
}
void check(Checker& c, InPlan<ops::Add> op) { check_binary(c, op.a, op.b, op.out); }
void check(Checker& c, InPlan<ops::Mul> op) { check_binary(c, op.a, op.b, op.out); }
void check(Checker& c, InPlan<ops::Swiglu> op) { check_binary(c, op.gate, op.up, op.out); }
void check(Checker& c, InPlan<ops::Geglu> op) { check_binary(c, op.gate, op.up, op.out); }
void check(Checker& c, InPlan<ops::Silu> op) { check_binary(c, op.x, op.x, op.out); }
void check(Checker& c, InPlan<ops::GeluTanh> op) { check_binary(c, op.x, op.x, op.out); }
void check(Checker& c, InPlan<ops::Gelu> op) { check_binary(c, op.x, op.x, op.out); }
void check(Checker& c, InPlan<ops::Softcap> op) { check_binary(c, op.x, op.x, op.out); }
void check(Checker& c, InPlan<ops::Scale> op) { check_binary(c, op.x, op.x, op.out); }

void check(Checker& c, InPlan<ops::OutputRows> op) {
  c.expect_f32(op.x, c.value(op.out).width, RowsOf::kTokens, "x is not [tokens, width of out]");
  c.expect_f32(op.out, c.value(op.x).width, RowsOf::kOutputs, "out is not [outputs, width of x]");
}

}  // namespace

Status check_step(const Plan& plan, const PlanStep& step) {
  Checker checker(plan, step);
  std::visit(
      [&](const auto& op) {
        if constexpr (!std::is_same_v<std::decay_t<decltype(op)>, std::monostate>) check(checker, op);
      },
      step.op);
  return checker.status;
}

}  // namespace infernode
