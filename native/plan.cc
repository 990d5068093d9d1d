// Decodes a plan and checks what the kernels rely on: they trust every index, shape and range from here on.
#include "plan.h"

#include <cmath>

#include "json.h"

namespace infernode {

namespace {

constexpr uint64_t kMaxRowBytes = uint64_t{1} << 32;  // of an arena; far above any model, far below overflow
constexpr uint32_t kMaxWidth = 1u << 28;
constexpr size_t kMaxItems = 1u << 20;  // weights, values, steps

Error invalid(std::string field, std::string reason) { return error(ErrorCode::kPlanInvalid, {std::move(field), std::move(reason)}); }

// A required whole number in [low, high].
Result<int64_t> whole(const json::Value& object, std::string_view key, int64_t low, int64_t high) {
  const json::Value value = object.get(key);
  if (!value.is_number()) return invalid(std::string(key), "a whole number is missing");
  auto number = value.integer();
  if (!number) return invalid(std::string(key), "not a whole number");
  if (*number < low || *number > high) return invalid(std::string(key), std::to_string(*number) + " is out of range");
  return *number;
}

Result<TensorType> tensor_type(const json::Value& value, const std::string& field) {
  const std::string name = value.string();
  for (size_t i = 0; i < static_cast<size_t>(TensorType::kCount); i++)
    if (name == kTensorTypes[i].name) return static_cast<TensorType>(i);
  return invalid(field, "there is no tensor type \"" + name + "\"");
}

uint64_t align64(uint64_t n) { return (n + 63) & ~uint64_t{63}; }

Status decode_files(const json::Value& list, Plan& plan) {
  for (json::Value entry : list.elements()) {
    INFERNODE_ASSIGN(bytes, whole(entry, "bytes", 0, int64_t{1} << 53));
    plan.files.push_back({entry.get("path").string(), static_cast<uint64_t>(bytes)});
  }
  return {};
}

constexpr uint64_t kMaxExperts = 1u << 16;

// Where the experts of a stack are: one after another from `offset` on, or each at a place of `parts`: [file, offset].
Status decode_experts(const json::Value& entry, const std::string& field, const Plan& plan, PlanWeight& weight) {
  const uint64_t bytes = weight.rows * row_bytes(weight.type, weight.cols);
  const json::Value parts = entry.get("parts");
  if (!parts.missing() && (!parts.is_array() || parts.size() != weight.n_experts))
    return invalid(field, "parts is not a place for each expert");
  const auto place = [&](int64_t file, int64_t offset) -> Status {
    if (file < 0 || file >= static_cast<int64_t>(plan.files.size()) || offset < 0 || offset > int64_t{1} << 53)
      return invalid(field, "an expert's place is out of range");
    // rows < 2^28 and a row < 2^31 bytes: no overflow.
    if (static_cast<uint64_t>(offset) + bytes > plan.files[static_cast<size_t>(file)].bytes)
      return invalid(field, "an expert lies beyond the end of its file");
    weight.experts.push_back({static_cast<int32_t>(file), static_cast<uint64_t>(offset)});
    return {};
  };
  if (parts.missing()) {
    // The first that does not fit ends it, so the sum stays far from overflow.
    for (uint64_t e = 0; e < weight.n_experts; e++)
      INFERNODE_TRY(place(weight.file, static_cast<int64_t>(weight.offset + e * bytes)));
    return {};
  }
  for (json::Value part : parts.elements()) {
    int64_t numbers[2];
    size_t n = 0;
    for (json::Value number : part.elements()) {
      auto whole_number = number.integer();
      if (n == 2 || !number.is_number() || !whole_number) return invalid(field, "a part is not [file, offset]");
      numbers[n++] = *whole_number;
    }
    if (n != 2) return invalid(field, "a part is not [file, offset]");
    INFERNODE_TRY(place(numbers[0], numbers[1]));
  }
  return {};
}

Status decode_weight(const json::Value& entry, Plan& plan) {
  PlanWeight weight{};
  weight.name = entry.get("name").string();
  const std::string field = "weights." + weight.name;
  INFERNODE_ASSIGN(type, tensor_type(entry.get("type"), field));
  weight.type = type;
  if (type != TensorType::kF32 && info(type).activations == type)
    return invalid(field, "weights cannot be of this type");
  const json::Value shape = entry.get("shape");
  uint64_t dims[3] = {1, 1, 1};
  size_t n_dims = 0;
  for (json::Value dim : shape.elements()) {
    auto n = dim.integer();
    if (n_dims == 3 || !n || *n < 1 || *n > kMaxWidth) return invalid(field, "the shape is not one to three sizes of 1 to 2^28");
    dims[n_dims++] = static_cast<uint64_t>(*n);
  }
  if (n_dims == 0) return invalid(field, "the shape is missing");
  weight.vector = n_dims == 1;
  weight.rows = weight.vector ? 1 : dims[n_dims - 2];
  weight.cols = dims[n_dims - 1];
  if (n_dims == 3) {
    if (dims[0] > kMaxExperts) return invalid(field, "more than 2^16 experts");
    weight.n_experts = static_cast<uint32_t>(dims[0]);
  }
  if (weight.cols % info(type).block_values) return invalid(field, "rows are not whole blocks of " + std::string(info(type).name));

  if (const json::Value data = entry.get("data"); data.is_array()) {
    if (!weight.vector || type != TensorType::kF32 || data.size() != weight.cols) return invalid(field, "data does not fit the shape");
    weight.file = -1;
    for (json::Value x : data.elements()) weight.data.push_back(static_cast<float>(x.number()));
  } else {
    if (weight.vector && info(type).block_values != 1) return invalid(field, "vectors are f32, f16 or bf16");
    INFERNODE_ASSIGN(file, whole(entry, "file", 0, static_cast<int64_t>(plan.files.size()) - 1));
    INFERNODE_ASSIGN(offset, whole(entry, "offset", 0, int64_t{1} << 53));
    weight.file = static_cast<int32_t>(file);
    weight.offset = static_cast<uint64_t>(offset);
    weight.add = static_cast<float>(entry.get("add").number());
    // rows < 2^28 and a row < 2^31 bytes: no overflow.
    uint64_t bytes = weight.rows * row_bytes(type, weight.cols);
    if (!entry.get("storedColumns").missing()) {
      INFERNODE_ASSIGN(stored, whole(entry, "storedColumns", 1, kMaxWidth));
      weight.stored_columns = static_cast<uint64_t>(stored);
      if (!weight.matrix() || info(type).block_values != 1 || weight.stored_columns < weight.rows)
        return invalid(field, "only matrices of f32, f16 or bf16 are stored the other way, with all their rows as columns");
      bytes = row_bytes(type, (weight.cols - 1) * weight.stored_columns + weight.rows);
    }
    if (weight.offset + bytes > plan.files[static_cast<size_t>(file)].bytes) return invalid(field, "lies beyond the end of its file");
    if (weight.n_experts > 0) INFERNODE_TRY(decode_experts(entry, field, plan, weight));
  }
  plan.weights.push_back(std::move(weight));
  return {};
}

Status decode_value(const json::Value& entry, Plan& plan) {
  PlanValue value{};
  value.name = entry.get("name").string();
  const std::string field = "values." + std::to_string(plan.values.size());
  const std::string rows = entry.get("rows").string();
  if (rows != "tokens" && rows != "outputs") return invalid(field, "rows is neither tokens nor outputs");
  value.rows = rows == "tokens" ? RowsOf::kTokens : RowsOf::kOutputs;
  INFERNODE_ASSIGN(type, tensor_type(entry.get("type"), field));
  if (type != TensorType::kF32 && type != TensorType::kA8_32 && type != TensorType::kA8_256)
    return invalid(field, "activations are f32, a8_32 or a8_256");
  value.type = type;
  INFERNODE_ASSIGN(width, whole(entry, "width", 1, kMaxWidth));
  INFERNODE_ASSIGN(offset, whole(entry, "offset", 0, kMaxRowBytes));
  INFERNODE_ASSIGN(stride, whole(entry, "stride", 1, kMaxRowBytes));
  value.width = static_cast<uint32_t>(width);
  value.offset = static_cast<uint64_t>(offset);
  value.stride = static_cast<uint64_t>(stride);
  if (value.width % info(type).block_values) return invalid(field, "the width is not whole blocks");
  if (value.offset % 64 || value.stride % 64 || value.stride < align64(row_bytes(type, value.width)))
    return invalid(field, "offset or stride do not fit");
  const uint64_t arena = value.rows == RowsOf::kTokens ? plan.token_row_bytes : plan.output_row_bytes;
  if (value.offset + value.stride > arena) return invalid(field, "lies beyond the arena");
  plan.values.push_back(std::move(value));
  return {};
}

// Fills the fields of an op from a step's JSON; the op's visit() names them.
class StepReader {
 public:
  StepReader(const Plan& plan, const json::Value& step) : plan_(plan), step_(step) {}
  Status status;

  void input(const char* name, ValueId& id) { id = single("inputs", name, plan_.values.size(), false); }
  void optional_input(const char* name, ValueId& id) { id = single("inputs", name, plan_.values.size(), true); }
  void weight(const char* name, WeightId& id) { id = single("weights", name, plan_.weights.size(), false); }
  void optional_weight(const char* name, WeightId& id) { id = single("weights", name, plan_.weights.size(), true); }
  void output(const char* name, ValueId& id) { id = single("outputs", name, plan_.values.size(), false); }
  void inputs(const char* name, ops::List<ValueId>& list) { many("inputs", name, plan_.values.size(), list, false); }
  void outputs(const char* name, ops::List<ValueId>& list) { many("outputs", name, plan_.values.size(), list, false); }
  void weights(const char* name, ops::List<WeightId>& list) { many("weights", name, plan_.weights.size(), list, false); }
  void optional_weights(const char* name, ops::List<WeightId>& list) { many("weights", name, plan_.weights.size(), list, true); }

  void attribute(const char* name, float& out) {
    const json::Value value = step_.get("attributes").get(name);
    out = static_cast<float>(value.number());
    if (!value.is_number() || !std::isfinite(out)) fail(name, "not a number");
  }
  void attribute(const char* name, uint32_t& out) {
    auto value = whole(step_.get("attributes"), name, 0, UINT32_MAX);
    if (!value) return fail(name, "not a whole number");
    out = static_cast<uint32_t>(*value);
  }
  template <class Enum, size_t n>
  void attribute(const char* name, Enum& out, const char* const (&names)[n]) {
    const std::string text = step_.get("attributes").get(name).string();
    for (size_t i = 0; i < n; i++)
      if (text == names[i]) return void(out = static_cast<Enum>(i));
    fail(name, "there is no \"" + text + "\"");
  }

 private:
  void fail(const std::string& name, const std::string& reason) {
    if (status) status = invalid("steps." + step_.get("label").string() + "." + name, reason);
  }
  int32_t index(const json::Value& value, const char* name, size_t n, bool absent_allowed) {
    auto id = value.integer();
    if (value.is_number() && id && *id >= (absent_allowed ? -1 : 0) && *id < static_cast<int64_t>(n)) return static_cast<int32_t>(*id);
    fail(name, "not an index below " + std::to_string(n));
    return -1;
  }
  int32_t single(const char* role, const char* name, size_t n, bool optional) {
    const json::Value value = step_.get(role).get(name);
    if (value.missing() && optional) return -1;
    return index(value, name, n, optional);
  }
  void many(const char* role, const char* name, size_t n, ops::List<int32_t>& list, bool optional) {
    const json::Value value = step_.get(role).get(name);
    list.n = 0;
    if (value.missing() && optional) return;
    if (!value.is_array() || value.size() > ops::List<int32_t>::kCapacity || (value.size() == 0 && !optional))
      return fail(name, "not a list of 1 to 4");
    for (json::Value entry : value.elements()) list[list.n++] = index(entry, name, n, optional);
  }

  const Plan& plan_;
  const json::Value& step_;
};

Status decode_step(const json::Value& entry, Plan& plan) {
  PlanStep step;
  step.label = entry.get("label").string();
  const std::string name = entry.get("op").string();
  StepReader reader(plan, entry);
#define INFERNODE_OP(Struct, kernel)                             \
  if (name == ops::Struct<ValueId, WeightId>::kName) {           \
    ops::Struct<ValueId, WeightId> op{};                         \
    op.visit(reader);                                            \
    step.op = op;                                                \
  }
  INFERNODE_OPS(INFERNODE_OP)
#undef INFERNODE_OP
  if (step.op.index() == 0) return invalid("steps." + step.label, "there is no op \"" + name + "\"");
  INFERNODE_TRY(reader.status);
  INFERNODE_TRY(check_step(plan, step));
  plan.steps.push_back(std::move(step));
  return {};
}

Status decode_kv(const json::Value& kv, Plan& plan) {
  INFERNODE_ASSIGN(heads, whole(kv, "nKvHeads", 0, 1 << 16));
  INFERNODE_ASSIGN(head_dim, whole(kv, "headDim", 0, 1 << 16));
  plan.n_kv_heads = static_cast<uint32_t>(heads);
  plan.head_dim = static_cast<uint32_t>(head_dim);
  size_t per_group = 0, n_layers = 0;
  for (json::Value entry : kv.get("groups").elements()) {
    PlanKvGroup group;
    INFERNODE_ASSIGN(window, whole(entry, "window", 0, INT32_MAX));
    group.window = static_cast<uint32_t>(window);
    for (json::Value layer : entry.get("layers").elements()) {
      auto n = layer.integer();
      if (!n || *n < 0 || *n > 1 << 16) return invalid("kv.groups", "a layer is out of range");
      group.layers.push_back(static_cast<uint32_t>(*n));
    }
    if (per_group && group.layers.size() != per_group) return invalid("kv.groups", "groups have different numbers of layers");
    per_group = group.layers.size();
    n_layers += per_group;
    plan.kv_groups.push_back(std::move(group));
  }
  if (!plan.kv_groups.empty() && (per_group == 0 || !plan.n_kv_heads || !plan.head_dim)) return invalid("kv", "a size is zero");
  std::vector<bool> seen(n_layers);
  for (const PlanKvGroup& group : plan.kv_groups)
    for (uint32_t layer : group.layers) {
      if (layer >= n_layers || seen[layer]) return invalid("kv.groups", "layers are not 0 … n-1, each once");
      seen[layer] = true;
    }
  plan.n_layers = static_cast<uint32_t>(n_layers);
  return {};
}

Status decode_ports(const json::Value& list, const char* field, bool fed, const Plan& plan, std::vector<PlanPort>& out) {
  for (json::Value entry : list.elements()) {
    INFERNODE_ASSIGN(value, whole(entry, "value", 0, static_cast<int64_t>(plan.values.size()) - 1));
    if (plan.values[static_cast<size_t>(value)].type != TensorType::kF32) return invalid(field, "inputs and outputs are f32");
    // There is room for fewer rows of outputs than a step has tokens.
    if (fed && plan.values[static_cast<size_t>(value)].rows != RowsOf::kTokens)
      return invalid(field, "inputs have rows of tokens");
    out.push_back({entry.get("name").string(), static_cast<ValueId>(value)});
  }
  return {};
}

// Where a step's operands live decides in which part of the plan it may stand.
class RowsOfOperands {
 public:
  explicit RowsOfOperands(const Plan& plan) : plan_(plan) {}
  bool outputs_written = false, tokens_written = false, outputs_read = false;
  void input(const char*, ValueId id) { read(id); }
  void optional_input(const char*, ValueId id) { read(id); }
  void inputs(const char*, const ops::List<ValueId>& list) {
    for (ValueId id : list) read(id);
  }
  void output(const char*, ValueId id) { write(id); }
  void outputs(const char*, const ops::List<ValueId>& list) {
    for (ValueId id : list) write(id);
  }
  void weight(const char*, WeightId) {}
  void optional_weight(const char*, WeightId) {}
  void weights(const char*, const ops::List<WeightId>&) {}
  void optional_weights(const char*, const ops::List<WeightId>&) {}
  template <class... Rest>
  void attribute(Rest&&...) {}

 private:
  bool of_outputs(ValueId id) const { return plan_.values[static_cast<size_t>(id)].rows == RowsOf::kOutputs; }
  void read(ValueId id) {
    if (id >= 0) outputs_read |= of_outputs(id);
  }
  void write(ValueId id) { (of_outputs(id) ? outputs_written : tokens_written) = true; }
  const Plan& plan_;
};

Status check_head(const Plan& plan) {
  for (size_t i = 0; i < plan.steps.size(); i++) {
    RowsOfOperands rows(plan);
    std::visit(
        [&](auto op) {
          if constexpr (!std::is_same_v<decltype(op), std::monostate>) op.visit(rows);
        },
        plan.steps[i].op);
    const bool in_head = i >= plan.head_step;
    if (in_head ? rows.tokens_written : (rows.outputs_written || rows.outputs_read))
      return invalid("headStep", "\"" + plan.steps[i].label + "\" stands on the wrong side of it");
  }
  return {};
}

}  // namespace

ValueId Plan::logits() const {
  for (const PlanPort& port : outputs)
    if (port.name == "logits") return port.value;
  return -1;
}

Result<Plan> decode_plan(std::string_view json) {
  json::ParseOptions options;
  options.unique_keys = true;
  INFERNODE_ASSIGN(document, json::Document::parse(json, "the plan", options));
  const json::Value root = document.root();
  Plan plan{};
  INFERNODE_TRY(whole(root, "version", 1, 1));
  plan.architecture = root.get("architecture").string();
  INFERNODE_ASSIGN(vocab_size, whole(root, "vocabSize", 0, INT32_MAX));
  INFERNODE_ASSIGN(context_length, whole(root, "contextLength", 1, INT32_MAX));
  plan.vocab_size = static_cast<uint32_t>(vocab_size);
  plan.context_length = static_cast<uint32_t>(context_length);
  for (const char* list : {"files", "weights", "values", "steps", "inputs", "outputs"})
    if (!root.get(list).is_array() || root.get(list).size() > kMaxItems) return invalid(list, "not a list");
  const json::Value row_bytes = root.get("bytesPerRow");
  INFERNODE_ASSIGN(token_row_bytes, whole(row_bytes, "tokens", 0, kMaxRowBytes));
  INFERNODE_ASSIGN(output_row_bytes, whole(row_bytes, "outputs", 0, kMaxRowBytes));
  plan.token_row_bytes = align64(static_cast<uint64_t>(token_row_bytes));
  plan.output_row_bytes = align64(static_cast<uint64_t>(output_row_bytes));

  INFERNODE_TRY(decode_files(root.get("files"), plan));
  for (json::Value entry : root.get("weights").elements()) INFERNODE_TRY(decode_weight(entry, plan));
  for (json::Value entry : root.get("values").elements()) INFERNODE_TRY(decode_value(entry, plan));
  INFERNODE_TRY(decode_kv(root.get("kv"), plan));
  for (json::Value entry : root.get("steps").elements()) INFERNODE_TRY(decode_step(entry, plan));
  INFERNODE_ASSIGN(head, whole(root, "headStep", 0, static_cast<int64_t>(plan.steps.size())));
  plan.head_step = static_cast<size_t>(head);
  INFERNODE_TRY(check_head(plan));
  INFERNODE_TRY(decode_ports(root.get("inputs"), "inputs", true, plan, plan.inputs));
  INFERNODE_TRY(decode_ports(root.get("outputs"), "outputs", false, plan, plan.outputs));
  if (const ValueId logits = plan.logits(); logits >= 0) {
    const PlanValue& value = plan.values[static_cast<size_t>(logits)];
    if (value.rows != RowsOf::kOutputs || value.width != plan.vocab_size) return invalid("outputs.logits", "not [outputs, vocabSize]");
  }
  return plan;
}

}  // namespace infernode
