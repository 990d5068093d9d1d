// A plan as the native side holds it: decoded from JSON, every index, shape and byte range checked once.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "generated/ops.h"
#include "generated/tensor_types.h"
#include "result.h"

namespace infernode {

using ValueId = int32_t;   // index into Plan::values, -1: absent
using WeightId = int32_t;  // index into Plan::weights, -1: absent

struct PlanFile {
  std::string path;
  uint64_t bytes;
};

// A matrix [rows, cols] in place in its file, a stack of them, or a vector (rows == 1) that becomes f32 when it is loaded.
struct PlanWeight {
  std::string name;
  TensorType type;
  uint64_t rows, cols;
  bool vector;
  int32_t file;       // -1: `data`
  uint64_t offset;    // bytes in the file
  float add;          // added to a vector's values
  uint64_t stored_columns;  // not 0: the file has the transpose, see FileWeight in src/graph/plan.ts
  std::vector<float> data;
  // A stack of n_experts matrices [rows, cols], each at its own place; 0: one matrix or a vector.
  struct Place {
    int32_t file;
    uint64_t offset;
  };
  uint32_t n_experts;
  std::vector<Place> experts;

  bool matrix() const { return !vector && n_experts == 0; }
};

enum class RowsOf : uint8_t { kTokens, kOutputs };

// See PlanValue in src/graph/plan.ts.
struct PlanValue {
  std::string name;
  RowsOf rows;
  uint32_t width;
  TensorType type;
  uint64_t offset, stride;
};

#define INFERNODE_OP(Struct, name) , ops::Struct<ValueId, WeightId>
using PlanOp = std::variant<std::monostate INFERNODE_OPS(INFERNODE_OP)>;
#undef INFERNODE_OP

struct PlanStep {
  std::string label;
  PlanOp op;
};

struct PlanKvGroup {
  std::vector<uint32_t> layers;
  uint32_t window;  // 0: all positions
};

struct PlanPort {
  std::string name;
  ValueId value;
};

struct Plan {
  std::string architecture;
  uint32_t vocab_size;
  uint32_t context_length;
  std::vector<PlanFile> files;
  std::vector<PlanWeight> weights;
  std::vector<PlanValue> values;
  std::vector<PlanStep> steps;
  size_t head_step;  // steps from here on have one row per output
  uint32_t n_kv_heads, head_dim, n_layers;
  std::vector<PlanKvGroup> kv_groups;
  std::vector<PlanPort> inputs, outputs;
  uint64_t token_row_bytes, output_row_bytes;  // of the two arenas

  ValueId logits() const;  // -1: the plan has none
};

// Fails with kPlanInvalid, naming the field.
Result<Plan> decode_plan(std::string_view json);

// Operand shapes of one step against the op's rule; called by decode_plan.
Status check_step(const Plan& plan, const PlanStep& step);

}  // namespace infernode
