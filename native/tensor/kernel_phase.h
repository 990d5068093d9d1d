// An op of the models' kernel table as phases of a job.
#pragma once

#include "tensor/ops.h"

namespace infernode::tensor {

template <class Op>
struct BoundKernel {
  cpu::Kernel<Op> kernel;
  Op op{};
  cpu::Batch batch;
  std::shared_ptr<Storage> shared;
};

// `keep` lives as long as the phases: what op and batch point to.
template <class Op, class Keep>
Status add_kernel(const Maker& make, const cpu::Kernel<Op>& kernel, const Op& op, cpu::Batch batch, Keep keep) {
  auto bound = std::make_shared<BoundKernel<Op>>(BoundKernel<Op>{kernel, op, batch, nullptr});
  bound->batch.n_threads = make.job->n_threads();
  if (kernel.shared_bytes) {
    INFERNODE_ASSIGN(shared, Storage::make(kernel.shared_bytes(bound->op, bound->batch)));
    bound->shared = shared;
    bound->batch.shared = shared->data();
  }
  const size_t scratch = kernel.scratch_bytes ? kernel.scratch_bytes(bound->op, bound->batch) : 0;
  make.job->add(
      {kernel.items(bound->op, bound->batch), scratch, [bound, keep](size_t begin, size_t end, std::byte* thread_scratch) {
         bound->kernel.run(bound->op, bound->batch, {begin, end}, thread_scratch);
       }});
  if (kernel.merge_items)
    make.job->add({kernel.merge_items(bound->op, bound->batch), scratch,
                   [bound, keep](size_t begin, size_t end, std::byte* thread_scratch) {
                     bound->kernel.merge(bound->op, bound->batch, {begin, end}, thread_scratch);
                   }});
  return {};
}

// The rows of a contiguous view, `width` values each.
inline cpu::Rows rows_of(const View& view, size_t width) {
  const size_t stride = row_bytes(view.type, width);
  return {view.data(), stride, width > 0 ? view.size() / width : 0, width, view.type};
}

// A contiguous f32 vector, as kernels read weights of norms.
inline cpu::Weight vector_of(const View& view) {
  return {view.data(), 1, view.size(), view.size() * sizeof(float), TensorType::kF32, 0};
}

}  // namespace infernode::tensor
