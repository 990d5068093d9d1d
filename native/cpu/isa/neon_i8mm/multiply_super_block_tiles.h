// Products of many tokens with weights in super-blocks of 256 and a8_256 activations, by squares. Scales and minimums stay
// integers, as in multiply_super_blocks.h; the minimums are multiplied by squares too, with the activations' sums in two bytes.
#pragma once

#include "cpu/isa/neon_i8mm/squares.h"
#include "cpu/kernels/signed_lanes.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

constexpr size_t kSuperPairs = 2;  // of tokens in a tile: 16 registers of squares
constexpr size_t kStepVectorBytes = 4 * kPanelGroups * kRowPairs * kVectorBytes;  // of 32 values
constexpr size_t kMinVectorBytes = 2 * kPanelGroups * kRowPairs * kVectorBytes;   // of 16 minimums

struct SquaresPanel {
  std::byte* weights;  // [super-block][8 values][kPanelGroups][row pair][2 rows]
  std::byte* scales;   // [super-block][sub-block][kPanelGroups][kLanes]
  std::byte* mins;     // [super-block][8 minimums][kPanelGroups][row pair][2 rows]
  float *d, *dmin;     // [super-block][kPanelGroups][kLanes]
};
static_assert(kPanelBytes - kCopyBytes >=
              kPanelValues / 256 * (8 * kStepVectorBytes + kMinVectorBytes + (16 + 2) * kPanelRows * sizeof(float)));

// pairs: as a lanes_<type>.h has them, a row in a lane.
INFERNODE_INLINE void store_mins(const Ints (&pairs)[8], size_t g, std::byte* mins) {
  int32x4_t rows[2][4];
#pragma GCC unroll 4
  for (size_t i = 0; i < 4; i++) {
    const Ints four = bytes_of_pairs(pairs[2 * i], pairs[2 * i + 1]);
    rows[0][i] = four.low, rows[1][i] = four.high;
  }
  transpose(rows[0]), transpose(rows[1]);
#pragma GCC unroll 4
  for (size_t i = 0; i < kRowPairs; i++) {
    const int32x4_t a = rows[i / 2][i % 2 * 2], b = rows[i / 2][i % 2 * 2 + 1];
    store_vector(mins + (g * kRowPairs + i) * kVectorBytes, first_halves(a, b));
    store_vector(mins + ((kPanelGroups + g) * kRowPairs + i) * kVectorBytes, last_halves(a, b));
  }
}

template <class Type>
[[gnu::noinline]] void unpack_super_row_pairs(const RowGroup& rows, size_t g, size_t n_blocks, const SquaresPanel& panel) {
  using Block = typename Type::Block;
  constexpr size_t n_subs = 256 / Type::kSubValues;
  for (size_t b = 0; b < n_blocks; b++) {
    Floats d, dmin = {};
    Ints scales[n_subs], pairs[8];
    Type::header(rows, b * sizeof(Block), d, dmin, scales, pairs);
    store_floats(panel.d + (b * kPanelGroups + g) * kLanes, d);
#pragma GCC unroll 16
    for (size_t j = 0; j < n_subs; j++)
      store_ints(panel.scales + ((b * n_subs + j) * kPanelGroups + g) * sizeof(Ints), scales[j]);
    if constexpr (Type::kHasMin) {
      store_floats(panel.dmin + (b * kPanelGroups + g) * kLanes, dmin);
      store_mins(pairs, g, panel.mins + b * kMinVectorBytes);
    }
#pragma GCC unroll 8
    for (size_t step = 0; step < 8; step++) {
      Ints w[kLanes];
#pragma GCC unroll 8
      for (size_t i = 0; i < kLanes; i++) w[i] = SignedLanes<Type>::weights(*block_of<Type>(rows.at(i), b), step);
      store_row_pairs(w, g, panel.weights + (b * 8 + step) * kStepVectorBytes);
    }
  }
}

template <size_t kSubValues, bool kHasMin>
struct SuperSquares {
  static constexpr size_t n_subs = 256 / kSubValues;
  const SquaresPanel& panel;
  const Rows& x;
  size_t first_block, n_blocks, n_groups;
  float* sums;
  Ahead& ahead;
  size_t fetched_lines;  // per sub-block

  // s += scale * the products of a sub-block.
  template <size_t kPairs>
  INFERNODE_INLINE void add_sub_block(const int8_t* const (&values)[2 * kPairs], size_t g, size_t b, size_t j,
                                      Square (&s)[kPairs][kRowPairs]) const {
    Square squares[kPairs][kRowPairs] = {};
    const std::byte* weights = panel.weights + b * 8 * kStepVectorBytes + g * kRowPairs * kVectorBytes;
#pragma GCC unroll 2
    for (size_t k = j * kSubValues; k < (j + 1) * kSubValues; k += 16)
      add_16<kPairs>(values, k, weights + k / 16 * (kStepVectorBytes / 2), squares);
    const std::byte* scales = panel.scales + ((b * n_subs + j) * kPanelGroups + g) * sizeof(Ints);
#pragma GCC unroll 4
    for (size_t i = 0; i < kRowPairs; i++) {
      const Square scale = vreinterpretq_s32_s64(vld1q_dup_s64(reinterpret_cast<const int64_t*>(scales) + i));
#pragma GCC unroll 4
      for (size_t p = 0; p < kPairs; p++) s[p][i] = vmlaq_s32(s[p][i], squares[p][i], scale);
    }
  }
  // The minimums times the sums, whose high bytes count 128 times.
  template <size_t kPairs>
  INFERNODE_INLINE void add_mins(const SplitSums (&split)[2 * kPairs], size_t g, size_t b,
                                 Square (&m)[kPairs][kRowPairs]) const {
    const int8_t *low[2 * kPairs], *high[2 * kPairs];
#pragma GCC unroll 8
    for (size_t t = 0; t < 2 * kPairs; t++) low[t] = split[t].low, high[t] = split[t].high;
    const std::byte* mins = panel.mins + b * kMinVectorBytes + g * kRowPairs * kVectorBytes;
    add_16<kPairs>(high, 0, mins, m);
#pragma GCC unroll 4
    for (size_t p = 0; p < kPairs; p++)
#pragma GCC unroll 4
      for (size_t i = 0; i < kRowPairs; i++) m[p][i] = vshlq_n_s32(m[p][i], 7);
    add_16<kPairs>(low, 0, mins, m);
  }

  template <size_t kPairs>
  INFERNODE_INLINE void run_block(const PairedTokens<kPairs>& tokens, const A8_256* const (&blocks)[2 * kPairs],
                                  const SplitSums (&split)[2 * kPairs], size_t g, size_t b, size_t lines) const {
    const int8_t* values[2 * kPairs];
#pragma GCC unroll 8
    for (size_t t = 0; t < 2 * kPairs; t++) values[t] = blocks[t][b].values;
    Square s[kPairs][kRowPairs] = {}, m[kPairs][kRowPairs] = {};
    for (size_t j = 0; j < n_subs; j++) {
      ahead.fetch_lines(lines);
      add_sub_block<kPairs>(values, g, b, j, s);
    }
    if constexpr (kHasMin) add_mins<kPairs>(split, g, b, m);
    const Floats d = load_floats(panel.d + (b * kPanelGroups + g) * kLanes);
    const Floats dmin = kHasMin ? load_floats(panel.dmin + (b * kPanelGroups + g) * kLanes) : all_floats(0);
    // All are loaded before any is stored: the last token may be there twice.
    Floats acc[2 * kPairs];
#pragma GCC unroll 8
    for (size_t t = 0; t < 2 * kPairs; t++) acc[t] = load_floats(sums + tokens.index[t] * kItemRows + g * kLanes);
#pragma GCC unroll 8
    for (size_t t = 0; t < 2 * kPairs; t++) {
      const Ints scaled = t % 2 ? sums_of_second(s[t / 2]) : sums_of_first(s[t / 2]);
      const Ints mins = t % 2 ? sums_of_second(m[t / 2]) : sums_of_first(m[t / 2]);
      add_super_block<kHasMin>(scaled, mins, d, dmin, blocks[t][b].scale, acc[t]);
    }
#pragma GCC unroll 8
    for (size_t t = 0; t < 2 * kPairs; t++) store_floats(sums + tokens.index[t] * kItemRows + g * kLanes, acc[t]);
  }

  template <size_t kPairs>
  [[gnu::noinline]] void run(size_t first_pair) const {
    const PairedTokens<kPairs> tokens(first_pair, x.n);
    const A8_256* blocks[2 * kPairs];
    SplitSums split[2 * kPairs];
#pragma GCC unroll 8
    for (size_t t = 0; t < 2 * kPairs; t++) blocks[t] = a8_256_row(x.data + tokens.index[t] * x.stride) + first_block;
    const size_t lines = fetches(2 * first_pair, x.n, 2 * kSuperPairs) ? fetched_lines : 0;
    for (size_t b = 0; b < n_blocks; b++) {
      if constexpr (kHasMin)
        for (size_t t = 0; t < 2 * kPairs; t++) split_sums(blocks[t][b].sums, split[t]);
      for (size_t g = 0; g < n_groups; g++) run_block<kPairs>(tokens, blocks, split, g, b, g == 0 ? lines : 0);
    }
  }
};

template <class Type>
void multiply_super_block_tiles(const Product& p) {
  constexpr size_t block_bytes = sizeof(typename Type::Block), per_panel = kPanelValues / 256, n_subs = 256 / Type::kSubValues;
  SquaresPanel panel;
  panel.weights = p.panel;
  panel.scales = panel.weights + per_panel * 8 * kStepVectorBytes;
  panel.mins = panel.scales + per_panel * n_subs * kPanelRows * sizeof(int32_t);
  panel.d = reinterpret_cast<float*>(panel.mins + per_panel * kMinVectorBytes);
  panel.dmin = panel.d + per_panel * kPanelRows;
  for_panels<block_bytes, 256>(
      p, [&](const RowGroup& rows, size_t g, size_t n) { unpack_super_row_pairs<Type>(rows, g, n, panel); },
      [&](size_t first, size_t b, size_t n, Ahead& ahead) {
        const size_t lines = lines_per_block(n * block_bytes * kPanelRows, n * n_subs, p.x.n, 2 * kSuperPairs);
        for_tokens<kSuperPairs>((p.x.n + 1) / 2, SuperSquares<Type::kSubValues, Type::kHasMin>{
                                                     panel, p.x, b, n, groups_of(p, first), p.sums + first, ahead, lines});
      });
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
