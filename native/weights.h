// The weights of a plan: matrices in place in their files (but for those stored the other way), vectors converted to f32.
#pragma once

#include <memory>
#include <vector>

#include "array.h"
#include "cpu/kernels/kernels.h"
#include "mapping.h"
#include "plan.h"

namespace infernode {

class Weights {
 public:
  // Opens the plan's files (in place, or read when `map_files` is false) and converts its vectors. A plan that asks for the same of
  // the same files gets what is there.
  static Result<std::shared_ptr<const Weights>> load(const Plan& plan, MappingRegistry& mappings, bool map_files);
  // Bytes of memory, beside mapped files, that load() takes: vectors, matrices stored the other way, files that are read.
  static size_t memory_for(const Plan& plan, bool map_files);

  // kFileChanged if a mapped file is not what it was when it was opened; asked before every step.
  Status unchanged() const;
  // A matrix's first row in its file, or a vector's first f32.
  const std::byte* data(WeightId id) const { return data_[static_cast<size_t>(id)]; }
  // Bytes after the weight's last byte that belong to the same mapping.
  size_t readable_after(WeightId id) const { return after_[static_cast<size_t>(id)]; }
  // Where each matrix of a stack is; nullptr: it is none.
  const cpu::ExpertMatrix* experts(WeightId id) const {
    const auto& stack = experts_[static_cast<size_t>(id)];
    return stack.empty() ? nullptr : stack.data();
  }
  // Of the matrices in their files, and of the converted vectors.
  size_t bytes() const { return bytes_; }

 private:
  Status bind(const Plan& plan);  // to files_
  std::vector<std::shared_ptr<const Mapping>> files_;
  Array<float> vectors_;
  Array<std::byte> turned_;  // matrices that their files store transposed
  std::vector<const std::byte*> data_;
  std::vector<size_t> after_;
  std::vector<std::vector<cpu::ExpertMatrix>> experts_;
  size_t bytes_ = 0;
};

}  // namespace infernode
