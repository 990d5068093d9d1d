// Products of many rows with many rows for Tensor: what the variant's matrices_isa.h says, as ProductKernel.
#include "cpu/kernels/tensor_kernels_of_isa.h"
#include "matrices_isa.h"

namespace infernode::cpu::INFERNODE_ISA {

size_t product_packed_bytes(const MatrixProduct& p) { return packed_bytes(p); }
size_t product_pack_items(const MatrixProduct& p) { return pack_items(p); }
void product_pack(const MatrixProduct& p, size_t begin, size_t end, std::byte* packed, std::byte* scratch) {
  for (size_t item = begin; item < end; item++) pack(p, item, packed, scratch);
}
size_t product_items(const MatrixProduct& p) { return (p.n + kItemRows - 1) / kItemRows; }
void product_run(const MatrixProduct& p, size_t begin, size_t end, const std::byte* packed, std::byte* scratch) {
  for (size_t item = begin; item < end; item++) multiply_matrices(p, item, packed, scratch);
}
size_t product_scratch_bytes(const MatrixProduct& p) { return product_scratch(p); }

}  // namespace infernode::cpu::INFERNODE_ISA
