// Written by scripts/generate.mjs from src/tensor-types.ts. Do not edit.
#pragma once

#include <cstddef>
#include <cstdint>

namespace infernode {

enum class TensorType : uint8_t {
  kF32,
  kF16,
  kBf16,
  kI32,
  kI8,
  kU8,
  kBool,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIq4_Nl,
  kIq4_Xs,
  kMxfp4,
  kNvfp4,
  kIq1_S,
  kIq1_M,
  kIq2_Xxs,
  kIq2_Xs,
  kIq2_S,
  kIq3_Xxs,
  kIq3_S,
  kTq1_0,
  kTq2_0,
  kA8_32,
  kA8_256,
  kCount,
};

struct TensorTypeInfo {
  const char* name;
  uint32_t block_values;   // values per block
  uint32_t block_bytes;    // bytes per block; activations (a8_*) store the parts of a row's blocks side by side
  TensorType activations;  // what a matmul with weights of this type reads: f32, a8_32 or a8_256
};

inline constexpr TensorTypeInfo kTensorTypes[] = {
    {"f32", 1, 4, TensorType::kF32},
    {"f16", 1, 2, TensorType::kF32},
    {"bf16", 1, 2, TensorType::kF32},
    {"i32", 1, 4, TensorType::kI32},
    {"i8", 1, 1, TensorType::kI8},
    {"u8", 1, 1, TensorType::kU8},
    {"bool", 1, 1, TensorType::kBool},
    {"q4_0", 32, 18, TensorType::kA8_32},
    {"q4_1", 32, 20, TensorType::kA8_32},
    {"q5_0", 32, 22, TensorType::kA8_32},
    {"q5_1", 32, 24, TensorType::kA8_32},
    {"q8_0", 32, 34, TensorType::kA8_32},
    {"q2_k", 256, 84, TensorType::kA8_256},
    {"q3_k", 256, 110, TensorType::kA8_256},
    {"q4_k", 256, 144, TensorType::kA8_256},
    {"q5_k", 256, 176, TensorType::kA8_256},
    {"q6_k", 256, 210, TensorType::kA8_256},
    {"iq4_nl", 32, 18, TensorType::kA8_32},
    {"iq4_xs", 256, 136, TensorType::kA8_256},
    {"mxfp4", 32, 17, TensorType::kA8_32},
    {"nvfp4", 64, 36, TensorType::kF32},
    {"iq1_s", 256, 50, TensorType::kF32},
    {"iq1_m", 256, 56, TensorType::kF32},
    {"iq2_xxs", 256, 66, TensorType::kF32},
    {"iq2_xs", 256, 74, TensorType::kF32},
    {"iq2_s", 256, 82, TensorType::kF32},
    {"iq3_xxs", 256, 98, TensorType::kF32},
    {"iq3_s", 256, 110, TensorType::kF32},
    {"tq1_0", 256, 54, TensorType::kF32},
    {"tq2_0", 256, 66, TensorType::kF32},
    {"a8_32", 32, 40, TensorType::kA8_32},
    {"a8_256", 256, 292, TensorType::kA8_256},
};

constexpr const TensorTypeInfo& info(TensorType type) { return kTensorTypes[static_cast<size_t>(type)]; }
constexpr size_t row_bytes(TensorType type, size_t values) { return values / info(type).block_values * info(type).block_bytes; }

}  // namespace infernode
