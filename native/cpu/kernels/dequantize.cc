// Rows of weights as f32: what the embedding reads.
#include "cpu/kernels/decode.h"
#include "cpu/kernels/kernels_of_isa.h"

namespace infernode::cpu::INFERNODE_ISA {

void dequantize(const Weight& weight, size_t row, float* out) {
  decode_values(weight.type, weight.data + row * weight.row_bytes, 0, weight.cols, out);
}

}  // namespace infernode::cpu::INFERNODE_ISA
