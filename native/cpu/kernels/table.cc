// The table of one ISA variant's kernels: all that dispatch sees of them.
#include "cpu/kernels/kernels_of_isa.h"
#include "cpu/kernels/tensor_kernels_of_isa.h"

#define INFERNODE_QUOTE(name) #name
#define INFERNODE_NAME_OF(isa) INFERNODE_QUOTE(isa)

namespace infernode::cpu::INFERNODE_ISA {

// Addresses only, so that the table is ready before any code runs.
constinit const KernelTable kernels = {
    .isa = INFERNODE_NAME_OF(INFERNODE_ISA),
    .embedding = {items, nullptr, run},
    .position_embedding = {items, nullptr, run},
    .linear = {items, scratch_bytes, run},
    .rms_norm = {items, scratch_bytes, run},
    .layer_norm = {items, scratch_bytes, run},
    .rope_table = {items, nullptr, run},
    .rope = {items, nullptr, run},
    .route = {items, nullptr, run},
    .experts_swiglu = {items, scratch_bytes, run},
    .experts_sum = {items, scratch_bytes, run},
    .kv_write = {items, nullptr, run},
    .attention = {items, scratch_bytes, run, shared_bytes, merge_items, merge},
    .quantize = {items, nullptr, run},
    .add = {items, nullptr, run},
    .mul = {items, nullptr, run},
    .swiglu = {items, nullptr, run},
    .geglu = {items, nullptr, run},
    .silu = {items, nullptr, run},
    .gelu_tanh = {items, nullptr, run},
    .gelu = {items, nullptr, run},
    .softcap = {items, nullptr, run},
    .scale = {items, nullptr, run},
    .output_rows = {items, nullptr, run},
    .dequantize = dequantize,
    .encode = encode,
    .row_max = row_max,
    .exp_sum = exp_sum,
    .read_probe = read_probe,
    .int8_probe = int8_probe,
    .bf16_probe = bf16_probe,
    .tensor =
        {
            .unary = tensor_unary,
            .binary = tensor_binary,
            .binary_i32 = tensor_binary_i32,
            .load = tensor_load,
            .store = tensor_store,
            .load_i32 = tensor_load_i32,
            .store_i32 = tensor_store_i32,
            .sum = tensor_sum,
            .largest = tensor_largest,
            .smallest = tensor_smallest,
            .softmax = tensor_softmax,
            .int8_dots = tensor_int8_dots,
            .f32_probe = f32_probe,
        },
};

}  // namespace infernode::cpu::INFERNODE_ISA
