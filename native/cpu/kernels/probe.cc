// What this machine can do at best, measured by the variant's own instructions: `bench` states its results as shares of these.
#include "cpu/kernels/kernels_of_isa.h"
#include "cpu/kernels/tensor_kernels_of_isa.h"  // f32_probe
#include "probe_isa.h"

namespace infernode::cpu::INFERNODE_ISA {

uint64_t int8_probe(uint64_t multiply_adds) { return multiply_all(multiply_adds); }
#ifndef INFERNODE_BASE
uint64_t read_probe(const std::byte* data, size_t n) { return read_all(data, n); }
uint64_t bf16_probe(uint64_t multiply_adds) { return multiply_all_bf16(multiply_adds); }
#endif

}  // namespace infernode::cpu::INFERNODE_ISA
