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

// Adds a value's bytes to a key.
template <class T>
void append(std::string& key, T value) {
  key.append(reinterpret_cast<const char*>(&value), sizeof value);
}

}  // namespace

size_t Weights::memory_for(const Plan& plan, bool map_files) {
  size_t bytes = 0;
  for (const PlanWeight& weight : plan.weights)
    bytes += weight.vector ? padded(weight.cols) * sizeof(float) : turned_bytes(weight);
  for (const PlanFile& file : plan.files) bytes += map_files ? 0 : static_cast<size_t>(file.bytes);
  return bytes;
}

Status Weights::unchanged() const {
  for (const auto& file : files_) INFERNODE_TRY(file->unchanged());
  return {};
}

Result<std::shared_ptr<const Weights>> Weights::load(const Plan& plan, MappingRegistry& mappings, bool map_files) {
  auto weights = std::make_shared<Weights>();
  std::string key;
  for (const PlanFile& file : plan.files) {
    INFERNODE_ASSIGN(mapping, mappings.open(file.path, file.bytes, map_files));
    // As long as the weights under this key live, nothing else can be mapped there.
    append(key, mapping.get());
    weights->files_.push_back(mapping);
  }
  for (const PlanWeight& weight : plan.weights) {
    append(key, weight.type);
    for (uint64_t number : {weight.rows, weight.cols, uint64_t{weight.vector}, static_cast<uint64_t>(weight.file), weight.offset,
                            uint64_t{weight.stored_columns}})
      append(key, number);
    append(key, weight.add);
    for (float value : weight.data) append(key, value);
    append(key, weight.n_experts);
    for (const auto& [file, offset] : weight.experts) {
      append(key, file);
      append(key, offset);
    }
  }
  return mappings.share<Weights>(key, [&]() -> Result<std::shared_ptr<const Weights>> {
    INFERNODE_TRY(weights->bind(plan));
    return std::shared_ptr<const Weights>(weights);
  });
}

Status Weights::bind(const Plan& plan) {
  size_t vector_values = 0;
  for (const PlanWeight& weight : plan.weights)
    if (weight.vector) vector_values += padded(weight.cols);
  INFERNODE_ASSIGN(vectors, Array<float>::make(vector_values, "norm weights and biases"));
  vectors_ = std::move(vectors);

  size_t turned_total = 0;
  for (const PlanWeight& weight : plan.weights)
    if (__builtin_add_overflow(turned_total, turned_bytes(weight), &turned_total))
      return error(ErrorCode::kOutOfMemory, {"matrices stored the other way", "more than addressable"});
  INFERNODE_ASSIGN(turned, Array<std::byte>::make(turned_total, "matrices stored the other way"));
  turned_ = std::move(turned);

  std::byte* next_turned = turned_.data();
  float* next = vectors_.data();
  for (const PlanWeight& weight : plan.weights) {
    const std::byte* source = weight.file < 0 ? reinterpret_cast<const std::byte*>(weight.data.data())
                                              : files_[static_cast<size_t>(weight.file)]->data() + weight.offset;
    const size_t bytes = weight.rows * row_bytes(weight.type, weight.cols);
    experts_.emplace_back();
    for (const PlanWeight::Place& place : weight.experts) {
      const Mapping& mapping = *files_[static_cast<size_t>(place.file)];
      experts_.back().push_back({mapping.data() + place.offset, mapping.size() - place.offset - bytes});
    }
    if (weight.vector) {
      convert(weight, source, next);
      data_.push_back(reinterpret_cast<const std::byte*>(next));
      after_.push_back(0);
      next += padded(weight.cols);
    } else if (weight.stored_columns) {
      info(weight.type).block_bytes == 4 ? turn<uint32_t>(weight, source, next_turned) : turn<uint16_t>(weight, source, next_turned);
      data_.push_back(next_turned);
      next_turned += turned_bytes(weight);
      after_.push_back(static_cast<size_t>(turned_.end() - next_turned) + turned_bytes(weight) - bytes);
      bytes_ += bytes;
    } else {
      data_.push_back(source);
      after_.push_back(files_[static_cast<size_t>(weight.file)]->size() - weight.offset - bytes);
      bytes_ += bytes * std::max(weight.n_experts, 1u);
    }
  }
  bytes_ += vectors_.size() * sizeof(float);
  return {};
}

}  // namespace infernode
