// The table of one ISA variant's kernels: all that dispatch sees of them. A variant with a base has products of its own
// (matmul.cc, moe.cc, probe.cc), and all else is the base's.
#include "cpu/kernels/kernels_of_isa.h"
#include "cpu/kernels/tensor_kernels_of_isa.h"
#ifdef INFERNODE_BASE
#pragma push_macro("INFERNODE_ISA")
#undef INFERNODE_ISA
#define INFERNODE_ISA INFERNODE_BASE
#include "cpu/kernels/kernels_of_isa.h"
#include "cpu/kernels/tensor_kernels_of_isa.h"
#pragma pop_macro("INFERNODE_ISA")
constexpr bool kWithoutBase = false;
#else
#define INFERNODE_BASE INFERNODE_ISA
constexpr bool kWithoutBase = true;
#endif

#define INFERNODE_QUOTE(name) #name
#define INFERNODE_NAME_OF(isa) INFERNODE_QUOTE(isa)

namespace infernode::cpu::INFERNODE_ISA {

namespace base = infernode::cpu::INFERNODE_BASE;

// Addresses only, so that the table is ready before any code runs.
constinit const KernelTable kernels = {
    .isa = INFERNODE_NAME_OF(INFERNODE_ISA),
    .embedding = {base::items, nullptr, base::run},
    .position_embedding = {base::items, nullptr, base::run},
    .linear = {items, scratch_bytes, run, shared_bytes, merge_items, merge, true},
    .rms_norm = {base::items, base::scratch_bytes, base::run},
    .layer_norm = {base::items, base::scratch_bytes, base::run},
    .rope_table = {base::items, nullptr, base::run},
    .rope = {base::items, nullptr, base::run},
    .route = {items, nullptr, run},
    .experts_swiglu = {items, scratch_bytes, run},
    .experts_sum = {items, scratch_bytes, run},
    .kv_write = {base::items, nullptr, base::run},
    .attention = {base::items, base::scratch_bytes, base::run, base::shared_bytes, base::merge_items, base::merge},
    .quantize = {base::items, nullptr, base::run},
    .add = {base::items, nullptr, base::run},
    .mul = {base::items, nullptr, base::run},
    .swiglu = {base::items, nullptr, base::run},
    .geglu = {base::items, nullptr, base::run},
    .silu = {base::items, nullptr, base::run},
    .gelu_tanh = {base::items, nullptr, base::run},
    .gelu = {base::items, nullptr, base::run},
    .softcap = {base::items, nullptr, base::run},
    .scale = {base::items, nullptr, base::run},
    .output_rows = {base::items, nullptr, base::run},
    .dequantize = base::dequantize,
    .encode = base::encode,
    .row_max = base::row_max,
    .exp_sum = base::exp_sum,
    .read_probe = base::read_probe,
    .int8_probe = int8_probe,
    .bf16_probe = base::bf16_probe,
    .tensor =
        {
            .unary = base::tensor_unary,
            .binary = base::tensor_binary,
            .binary_i32 = base::tensor_binary_i32,
            .load = base::tensor_load,
            .store = base::tensor_store,
            .load_i32 = base::tensor_load_i32,
            .store_i32 = base::tensor_store_i32,
            .sum = base::tensor_sum,
            .largest = base::tensor_largest,
            .smallest = base::tensor_smallest,
            .softmax = base::tensor_softmax,
            .product = {.packed_bytes = base::product_packed_bytes,
                        .pack_items = base::product_pack_items,
                        .pack = base::product_pack,
                        .items = base::product_items,
                        .run = base::product_run,
                        .scratch_bytes = base::product_scratch_bytes,
                        .adds_bf16_as_linear = kWithoutBase},
            .f32_probe = base::f32_probe,
        },
};

}  // namespace infernode::cpu::INFERNODE_ISA
