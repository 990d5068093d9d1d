// From names to ops.
#include "tensor/call.h"

#include <cmath>

namespace infernode::tensor {

namespace {

// Reads a call's parts; what is missing or out of range makes the call fail, never read past the end.
struct Reader {
  const Call& call;
  bool fits = true;

  View operand(size_t i) {
    if (i < call.operands.size() && call.operands[i].storage) return call.operands[i];
    fits = false;
    return {};
  }
  View optional(size_t i) const { return i < call.operands.size() ? call.operands[i] : View{}; }
  double number(size_t i) {
    if (i < call.attributes.size()) return call.attributes[i];
    fits = false;
    return 0;
  }
  float f32(size_t i) { return static_cast<float>(number(i)); }
  size_t count(size_t i) {
    const double x = number(i);
    if (x >= 0 && x <= 0x1p52 && x == std::floor(x)) return static_cast<size_t>(x);
    fits = false;
    return 0;
  }
  int32_t i32(size_t i) {
    const double x = number(i);
    if (x >= -0x1p31 && x < 0x1p31 && x == std::floor(x)) return static_cast<int32_t>(x);
    fits = false;
    return 0;
  }
};

Error not_fitting(const std::string& op) { return error(ErrorCode::kInternal, {"operands that do not fit " + op}); }

Result<std::vector<View>> one(Result<View> view) {
  if (!view) return view.error();
  return std::vector<View>{*view};
}

// One value of a type, from a number.
Result<View> scalar(const Maker& make, TensorType type, double x) {
  INFERNODE_ASSIGN(view, make_view(type, nullptr, 0));
  const float value = static_cast<float>(x);
  const int32_t integer = x >= -0x1p31 && x < 0x1p31 ? static_cast<int32_t>(x) : 0;
  if (is_integer(type))
    make.runs().store_i32(type, &integer, 1, view.data());
  else
    make.runs().store(type, &value, 1, view.data());
  return view;
}

Result<std::vector<View>> add_named(const Maker& make, Reader read) {
  const std::string& op = read.call.op;
  const View x = read.operand(0);
  if (!read.fits) return not_fitting(op);
#define INFERNODE_CASE(enumerator, name) \
  if (op == #name) return one(unary(make, cpu::Unary::enumerator, x));
  INFERNODE_UNARY(INFERNODE_CASE)
#undef INFERNODE_CASE
#define INFERNODE_CASE(enumerator, name)                             \
  if (op == #name) {                                                 \
    View y = read.optional(1);                                       \
    if (!y.storage) {                                                \
      INFERNODE_ASSIGN(value, scalar(make, x.type, read.number(0))); \
      if (!read.fits) return not_fitting(op);                        \
      y = value;                                                     \
    }                                                                \
    return one(binary(make, cpu::Binary::enumerator, x, y));         \
  }
  INFERNODE_BINARY(INFERNODE_CASE)
#undef INFERNODE_CASE
  // n: how many dimensions, the last ones
#define INFERNODE_CASE(enumerator, name)                        \
  if (op == #name) {                                            \
    const size_t n = read.count(0);                             \
    if (!read.fits) return not_fitting(op);                     \
    return one(reduce(make, cpu::Reduction::enumerator, x, n)); \
  }
  INFERNODE_REDUCTIONS(INFERNODE_CASE)
#undef INFERNODE_CASE
  if (op == "wait") return std::vector<View>{};
  if (op == "convert") {  // the type's number
    const size_t type = read.count(0);
    if (!read.fits || type >= static_cast<size_t>(TensorType::kA8_32)) return not_fitting(op);
    return one(convert(make, x, static_cast<TensorType>(type)));
  }
  if (op == "softmax") return one(softmax(make, x));
  if (op == "topK") {  // k
    const size_t k = read.count(0);
    if (!read.fits) return not_fitting(op);
    INFERNODE_ASSIGN(found, top_k(make, x, k));
    return std::vector<View>{found.values, found.indices};
  }
  if (op == "rmsNorm") {  // eps
    const float eps = read.f32(0);
    if (!read.fits) return not_fitting(op);
    return one(rms_norm(make, x, read.optional(1), eps));
  }
  if (op == "layerNorm") {  // eps
    const float eps = read.f32(0);
    if (!read.fits) return not_fitting(op);
    return one(layer_norm(make, x, read.optional(1), read.optional(2), eps));
  }
  const View y = read.operand(1);
  if (!read.fits) return not_fitting(op);
  if (op == "matmul") {  // transposeB
    const bool transpose_b = read.number(0) != 0;
    if (!read.fits) return not_fitting(op);
    return one(matmul(make, x, y, transpose_b));
  }
  if (op == "int8Matmul") {  // scaleA, zeroA
    const Int8Scales scales{read.f32(0), read.i32(1), read.optional(2), read.optional(3)};
    if (!read.fits) return not_fitting(op);
    return one(int8_matmul(make, x, y, scales));
  }
  if (op == "embedding") return one(embedding(make, x, y));
  const View z = read.operand(2);
  if (!read.fits) return not_fitting(op);
  if (op == "where") return one(where(make, x, y, z));
  if (op == "rope") {  // scale, interleaved
    const float scale = read.f32(0);
    const bool interleaved = read.number(1) != 0;
    if (!read.fits) return not_fitting(op);
    return one(rope(make, x, y, z, scale, interleaved));
  }
  if (op == "attention") {  // scale, causal, window, softcap, then the lengths
    AttentionOptions options;
    options.scale = read.f32(0);
    options.causal = read.number(1) != 0;
    options.window = read.count(2);
    options.softcap = read.f32(3);
    for (size_t i = 4; i < read.call.attributes.size(); i++) options.lengths.push_back(read.count(i));
    options.mask = read.optional(3);
    if (!read.fits) return not_fitting(op);
    return one(attention(make, x, y, z, options));
  }
  return error(ErrorCode::kInternal, {"no op " + op});
}

}  // namespace

Result<std::vector<View>> add_call(const Maker& make, const Call& call) {
  for (const View& operand : call.operands)
    if (operand.storage) make.job->reads(operand);
  auto results = add_named(make, Reader{call});
  if (results)
    for (const View& view : *results) make.job->gives(view);
  return results;
}

}  // namespace infernode::tensor
