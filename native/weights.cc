// Binds a plan's weights to mapped files.
#include "weights.h"

#include <algorithm>

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

// out[r][c] = from[c][r], where rows of `from` are `stored_columns` elements apart. In squares that fit the cache.
template <class Element>
void turn(const PlanWeight& weight, const std::byte* from, std::byte* out) {
  constexpr size_t kSquare = 32;
  const size_t rows = weight.rows, cols = weight.cols;
  for (size_t first_row = 0; first_row < rows; first_row += kSquare)
    for (size_t first_col = 0; first_col < cols; first_col += kSquare)
      for (size_t r = first_row; r < std::min(first_row + kSquare, rows); r++)
        for (size_t c = first_col; c < std::min(first_col + kSquare, cols); c++)
          std::memcpy(out + (r * cols + c) * sizeof(Element), from + (c * weight.stored_columns + r) * sizeof(Element),
                      sizeof(Element));
}

// A multiple of a cache line, for each matrix that is copied.
size_t turned_bytes(const PlanWeight& weight) {
  return weight.stored_columns ? (weight.rows * row_bytes(weight.type, weight.cols) + 63) & ~size_t{63} : 0;
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

  size_t turned_total = 0;
  for (const PlanWeight& weight : plan.weights)
    if (__builtin_add_overflow(turned_total, turned_bytes(weight), &turned_total))
      return error(ErrorCode::kOutOfMemory, {"matrices stored the other way", "more than addressable"});
  INFERNODE_ASSIGN(turned, Array<std::byte>::make(turned_total, "matrices stored the other way"));
  weights.turned_ = std::move(turned);

  std::byte* next_turned = weights.turned_.data();
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
    } else if (weight.stored_columns) {
      info(weight.type).block_bytes == 4 ? turn<uint32_t>(weight, source, next_turned) : turn<uint16_t>(weight, source, next_turned);
      weights.data_.push_back(next_turned);
      next_turned += turned_bytes(weight);
      weights.after_.push_back(static_cast<size_t>(weights.turned_.end() - next_turned) + turned_bytes(weight) - bytes);
      weights.bytes_ += bytes;
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
