// Rows of f32 values, and how rows are cut into work items.
#pragma once

#include "cpu/kernels/kernels.h"
#include "simd.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

INFERNODE_INLINE float* f32_row(const Rows& rows, size_t row) {
  return reinterpret_cast<float*>(rows.data + row * rows.stride);
}

INFERNODE_INLINE constexpr size_t smaller(size_t a, size_t b) { return a < b ? a : b; }
INFERNODE_INLINE constexpr size_t larger(size_t a, size_t b) { return a > b ? a : b; }
INFERNODE_INLINE size_t round_up(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Columns that an item of an elementwise op takes of a row: a multiple of every block, and one decoded token still makes
// several items. About 8 KB of each operand.
constexpr size_t kItemColumns = 2048;

INFERNODE_INLINE size_t column_items(const Rows& rows) { return rows.n * ((rows.width + kItemColumns - 1) / kItemColumns); }

// Calls body(row, begin, end) for each item: columns [begin, end) of a row.
template <class Body>
INFERNODE_INLINE void for_columns(const Rows& rows, Range items, Body&& body) {
  const size_t per_row = (rows.width + kItemColumns - 1) / kItemColumns;
  for (size_t item = items.begin; item < items.end; item++) {
    const size_t begin = item % per_row * kItemColumns;
    body(item / per_row, begin, smaller(begin + kItemColumns, rows.width));
  }
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
