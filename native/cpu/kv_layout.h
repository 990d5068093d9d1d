// Where keys and values lie in a page of the KV cache: shared by the engine, which sizes pages, and the attention kernels.
//
// A page holds kPagePositions (64) positions. Per layer slot it holds, for each KV head in turn, a K part and then a V part:
//   K  [head_dim, 64]   positions are the fast axis: 64 scores are computed side by side, head_dim ascending
//   V  [64, head_dim]   outputs are computed side by side, positions ascending
// in the cache's element type. q8_0 stores heads as kernels/rotation.h turns them, in bytes, four of head_dim together in K
// ([head_dim / 4, 64, 4], the last four filled up with anything, each with the variant's kKeyOffset added), followed by f16 scales
// of one position's blocks of 32 along head_dim (the last block may be shorter): [blocks, 64] in both parts.
// Every part is a multiple of 64 bytes, so parts of a 64-byte aligned page are aligned too.
// Included by files that are compiled once per ISA: only static functions, so that no symbol of one variant serves another.
#pragma once

#include <cstddef>

#include "cpu/kernels/kernels.h"

namespace infernode::cpu {

static constexpr size_t kv_element_bytes(TensorType type) {
  return type == TensorType::kF32 ? 4 : type == TensorType::kQ8_0 ? 1 : 2;
}

// Blocks of 32 values that share a scale, per position and head; 0 for types without scales.
static constexpr size_t kv_scale_blocks(TensorType type, size_t head_dim) {
  return type == TensorType::kQ8_0 ? (head_dim + 31) / 32 : 0;
}

// Bytes of one KV head's values in a page, without scales: the scales' offset in the part.
static constexpr size_t kv_value_bytes(TensorType type, size_t head_dim) {
  const size_t stored = type == TensorType::kQ8_0 ? (head_dim + 3) / 4 * 4 : head_dim;
  return kPagePositions * stored * kv_element_bytes(type);
}

// Bytes of one KV head's K part of a page; the V part has the same size.
static constexpr size_t kv_part_bytes(TensorType type, size_t head_dim) {
  return kv_value_bytes(type, head_dim) + kPagePositions * kv_scale_blocks(type, head_dim) * 2;
}

static constexpr size_t k_offset(TensorType type, size_t head_dim, size_t kv_head) {
  return kv_head * 2 * kv_part_bytes(type, head_dim);
}
static constexpr size_t v_offset(TensorType type, size_t head_dim, size_t kv_head) {
  return (kv_head * 2 + 1) * kv_part_bytes(type, head_dim);
}

// Bytes of one layer in a page: KvCacheView::slot_bytes. page_bytes is this times the layers of the group.
static constexpr size_t slot_bytes(TensorType type, size_t n_kv_heads, size_t head_dim) {
  return n_kv_heads * 2 * kv_part_bytes(type, head_dim);
}

static_assert(kv_part_bytes(TensorType::kQ8_0, 8) % 64 == 0 && kv_part_bytes(TensorType::kF16, 1) % 64 == 0);

}  // namespace infernode::cpu
