// Binds a plan's weights to mapped files.
#include "weights.h"

#include "quant/half.h"

namespace infernode {

namespace {

// Each vector starts on a cache line.
size_t padded(uint64_t values) { return (static_cast<size_t>(values) + 15) & ~size_t{15}; }

void convert(const PlanWeight& weight, const std::byte* from, float* out) {
  for (size_t i = 0; i < weight.cols; i++) {
    if (weight.type == TensorType::kF32) {
      std::memcpy(&out[i], from + 4 * i, 4);
    } else {
      const std::byte* half = from + 2 * i;
      out[i] = weight.type == TensorType::kF16 ? quant::to_float(*reinterpret_cast<const quant::Half*>(half))
                                               : quant::to_float(*reinterpret_cast<const quant::BrainHalf*>(half));
    }
    out[i] += weight.add;
  }
}

}  // namespace

Result<Weights> Weights::load(const Plan& plan, MappingRegistry& mappings, bool map_files) {
  Weights weights;
  for (const PlanFile& file : plan.files) {
    INFERNODE_ASSIGN(mapping, mappings.open(file.path, file.bytes, map_files));
    weights.files_.push_back(mapping);
  }
  size_t vector_values = 0;
  for (const PlanWeight& weight : plan.weights)
    if (weight.vector) vector_values += padded(weight.cols);
  INFERNODE_ASSIGN(vectors, Array<float>::make(vector_values, "norm weights and biases"));
  weights.vectors_ = std::move(vectors);

  float* next = weights.vectors_.data();
  for (const PlanWeight& weight : plan.weights) {
    const std::byte* source = weight.file < 0 ? reinterpret_cast<const std::byte*>(weight.data.data())
                                              : weights.files_[static_cast<size_t>(weight.file)]->data() + weight.offset;
    const size_t bytes = weight.rows * row_bytes(weight.type, weight.cols);
    if (weight.vector) {
      convert(weight, source, next);
      weights.data_.push_back(reinterpret_cast<const std::byte*>(next));
      weights.after_.push_back(0);
      next += padded(weight.cols);
    } else {
      weights.data_.push_back(source);
      weights.after_.push_back(weights.files_[static_cast<size_t>(weight.file)]->size() - weight.offset - bytes);
      weights.bytes_ += bytes;
    }
  }
  weights.bytes_ += weights.vectors_.size() * sizeof(float);
  return weights;
}

}  // namespace infernode
