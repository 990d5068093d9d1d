// Values of any tensor type to and from f32, for work on files: quantizing and dequantizing tensors. What the kernels read is
// decoded by native/cpu/kernels/decode.h.
#pragma once

#include <cstddef>

#include "generated/tensor_types.h"

namespace infernode::quant {

// i32 and activations are no weights: false.
bool can_decode(TensorType type);
// Types whose block has an encode() beside its decode().
bool can_encode(TensorType type);

// out[0 … n) = the values of n / block_values consecutive blocks. `blocks` may be at any alignment.
void decode_values(TensorType type, const std::byte* blocks, size_t n, float* out);

// The n / block_values blocks of n finite values; blocks never cross rows, so rows may follow each other. Depends on nothing but x.
// Values too large for the type's scale come out as infinity or NaN: who cannot rule them out decodes and looks.
void encode_values(TensorType type, const float* x, size_t n, std::byte* blocks);

}  // namespace infernode::quant
