// Products with weights in super-blocks of 256 and a8_256 activations, by tiles. Scaling the sums of every sub-block would take
// vector instructions for each of them, and tiles of 16 or 32 values would be a quarter or half full. So the weights are scaled
// instead, once per panel: scale * weight has at most 13 bits and its sign, which is high * 128 + low in two signed bytes. Full
// tiles then add up Σ high · a and Σ low · a over the super-block, and S = 128 * Σ high · a + Σ low · a is the exact integer of
// the contract. M likewise, with the activations' sums in two bytes.
#pragma once

#include "cpu/isa/amx/multiply_tiles.h"
#include "cpu/kernels/lanes_q2_k.h"
#include "cpu/kernels/lanes_q3_k.h"
#include "cpu/kernels/signed_lanes.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

// Of these, -scale * weight fits in one byte: -45 … 0, and -128 … 124 (without the minus it would be 128).
template <class Type>
constexpr bool kOneByte = false;
template <>
constexpr bool kOneByte<Q2_KLanes> = true;
template <>
constexpr bool kOneByte<Q3_KLanes> = true;

constexpr size_t kTileVectors = kTileRows;  // of a panel in a tile
constexpr size_t kMinVectors = 20;
constexpr size_t kTilePanelSuperBlocks = kPanelValues / 256;

struct ScaledPanel {
  std::byte* weights;  // [super-block][64 values][kPanelGroups][part][kTileVectors][kLanes * 4]
  std::byte* mins;  // [super-block][kPanelGroups][kMinVectors][kLanes * 4]: four vectors of zeros, the minimums in four, zeros
  float *d, *dmin;  // [super-block][kPanelGroups][kLanes]
};
static_assert(kPanelBytes - kCopyBytes >=
              kTilePanelSuperBlocks * kPanelGroups * sizeof(Ints) * (4 * 2 * kTileVectors + kMinVectors + 2));

// 16-bit products of the even and of the odd bytes.
struct ScaledPair {
  __m512i even, odd;

  INFERNODE_INLINE ScaledPair(Ints bytes, __m512i scale)
      : even(_mm512_mullo_epi16(_mm512_srai_epi16(_mm512_slli_epi16(__m512i(bytes), 8), 8), scale)),
        odd(_mm512_mullo_epi16(_mm512_srai_epi16(__m512i(bytes), 8), scale)) {}
  template <int kShift, int kMask>
  INFERNODE_INLINE Ints bytes() const {
    const __m512i mask = _mm512_set1_epi16(kMask);
    return Ints(_mm512_or_si512(_mm512_and_si512(_mm512_srai_epi16(even, kShift), mask),
                                _mm512_slli_epi16(_mm512_and_si512(_mm512_srai_epi16(odd, kShift), mask), 8)));
  }
};

// Turned weights of 64 values, scaled, in parts.
template <class Type, size_t n_subs>
INFERNODE_INLINE void store_scaled(const Ints (&w)[kLanes], const Ints (&scales)[n_subs], size_t step, std::byte* to) {
#pragma GCC unroll 16
  for (size_t j = 0; j < kTileVectors; j++) {
    const Ints scale = scales[(step * 64 + j * 4) / Type::kSubValues];
    if constexpr (kOneByte<Type>) {
      const ScaledPair scaled(w[j], __m512i((-scale & 0xffff) | (-scale << 16)));
      store_ints(to + j * sizeof(Ints), scaled.template bytes<0, 0xff>());
    } else {
      const ScaledPair scaled(w[j], __m512i((scale & 0xffff) | (scale << 16)));
      store_ints(to + j * sizeof(Ints), scaled.template bytes<0, 0x7f>());
      store_ints(to + (kTileVectors + j) * sizeof(Ints), scaled.template bytes<7, 0xff>());
    }
  }
}

template <class Type>
[[gnu::noinline]] void unpack_scaled(const RowGroup& rows, size_t g, size_t n_blocks, const ScaledPanel& panel) {
  using Block = typename Type::Block;
  constexpr size_t n_subs = 256 / Type::kSubValues, n_parts = kOneByte<Type> ? 1 : 2;
  for (size_t b = 0; b < n_blocks; b++) {
    Floats d, dmin = {};
    Ints scales[n_subs], pairs[8];
    Type::header(rows, b * sizeof(Block), d, dmin, scales, pairs);
    store_floats(panel.d + (b * kPanelGroups + g) * kLanes, d);
    if constexpr (Type::kHasMin) {
      store_floats(panel.dmin + (b * kPanelGroups + g) * kLanes, dmin);
      std::byte* mins = panel.mins + (b * kPanelGroups + g) * kMinVectors * sizeof(Ints);
      for (size_t j = 0; j < kMinVectors; j++)
        store_ints(mins + j * sizeof(Ints), j / 4 == 1 ? bytes_of_pairs(pairs[j % 4 * 2], pairs[j % 4 * 2 + 1]) : Ints{});
    }
#pragma GCC unroll 4
    for (size_t step = 0; step < 4; step++) {
      Ints w[kLanes];
      turn_step<SignedLanes<Type>>(rows, b, step, w);
      store_scaled<Type>(w, scales, step,
                         panel.weights + ((b * 4 + step) * kPanelGroups + g) * n_parts * kTileVectors * sizeof(Ints));
    }
  }
}

template <size_t kParts, bool kHasMin>
struct SuperTiles {
  static constexpr size_t kPartBytes = kTileVectors * sizeof(Ints);
  const ScaledPanel& panel;
  const Rows& x;
  size_t first_block, n_blocks;
  float* sums;
  Ahead& ahead;
  size_t fetched_lines;  // per 64 values

  // Adds to tiles 0 … 3, [group][part], 64 values of each token in tile kA.
  template <int kA>
  INFERNODE_INLINE void add_step(const std::byte* weights) const {
    load_tile<6>(weights, sizeof(Ints));
    add_dots<0, kA, 6>();
    load_tile<7>(weights + kPartBytes, sizeof(Ints));
    add_dots<1, kA, 7>();
    if constexpr (kParts == 2) {
      load_tile<6>(weights + 2 * kPartBytes, sizeof(Ints));
      add_dots<2, kA, 6>();
      load_tile<7>(weights + 3 * kPartBytes, sizeof(Ints));
      add_dots<3, kA, 7>();
    }
  }
  template <size_t n>
  INFERNODE_INLINE void store_tiles(TileSums (&to)[n]) const {
    store_tile<0>(to[0].of, sizeof to[0].of[0]);
    store_tile<1>(to[1].of, sizeof to[1].of[0]);
    if constexpr (n == 4) {
      store_tile<2>(to[2].of, sizeof to[2].of[0]);
      store_tile<3>(to[3].of, sizeof to[3].of[0]);
    }
  }
  INFERNODE_INLINE void zero_tiles() const { zero_tile<0>(), zero_tile<1>(), zero_tile<2>(), zero_tile<3>(); }

  // scaled[group * kParts + part]
  INFERNODE_INLINE void multiply_values(size_t token, size_t b, TileSums (&scaled)[2 * kParts]) const {
    const int8_t* values = a8_256_row(x.data + token * x.stride)[first_block + b].values;
    const std::byte* weights = panel.weights + b * 4 * kPanelGroups * kParts * kPartBytes;
    const size_t lines = fetches(token, x.n, kTileRows) ? fetched_lines : 0;
    zero_tiles();
#pragma GCC unroll 2
    for (size_t step = 0; step < 4; step += 2) {
      ahead.fetch_lines(2 * lines);
      load_tile<4>(values + step * 64, x.stride);
      add_step<4>(weights + step * kPanelGroups * kParts * kPartBytes);
      load_tile<5>(values + step * 64 + 64, x.stride);
      add_step<5>(weights + (step + 1) * kPanelGroups * kParts * kPartBytes);
    }
    store_tiles(scaled);
  }
  // mins[group * 2 + 0]: the low bytes of the sums times the minimums, + 1: the high ones. Both come from the same tile of
  // tokens: the zeros before or after the minimums choose.
  INFERNODE_INLINE void multiply_mins(size_t token, size_t n, size_t b, TileSums (&mins)[4]) const {
    alignas(64) std::byte split[kTileRows][kTileBytes] = {};
    for (size_t t = 0; t < n; t++)
      split_sums(a8_256_row(x.data + (token + t) * x.stride)[first_block + b].sums, reinterpret_cast<SplitSums&>(split[t]));
    const std::byte* vectors = panel.mins + b * kPanelGroups * kMinVectors * sizeof(Ints);
    zero_tiles();
    load_tile<4>(split, sizeof split[0]);
    load_tile<6>(vectors + 4 * sizeof(Ints), sizeof(Ints));
    add_dots<0, 4, 6>();
    load_tile<7>(vectors, sizeof(Ints));
    add_dots<1, 4, 7>();
    load_tile<6>(vectors + (kMinVectors + 4) * sizeof(Ints), sizeof(Ints));
    add_dots<2, 4, 6>();
    load_tile<7>(vectors + kMinVectors * sizeof(Ints), sizeof(Ints));
    add_dots<3, 4, 7>();
    store_tiles(mins);
  }

  [[gnu::noinline]] void run(size_t token, size_t n, size_t n_groups) const {
    TileSums scaled[2 * kParts], mins[4];
    for (size_t b = 0; b < n_blocks; b++) {
      multiply_values(token, b, scaled);
      if constexpr (kHasMin) multiply_mins(token, n, b, mins);
      for (size_t g = 0; g < n_groups; g++) {
        const Floats d = load_floats(panel.d + (b * kPanelGroups + g) * kLanes);
        const Floats dmin = kHasMin ? load_floats(panel.dmin + (b * kPanelGroups + g) * kLanes) : Floats{};
#pragma GCC unroll 4
        for (size_t t = 0; t < n; t++) {
          Ints s = load_ints(scaled[g * kParts].of[t]), m = {};
          s = kParts == 2 ? s + (load_ints(scaled[g * kParts + kParts - 1].of[t]) << 7) : -s;
          if constexpr (kHasMin) m = load_ints(mins[g * 2].of[t]) + (load_ints(mins[g * 2 + 1].of[t]) << 7);
          float* sum = sums + (token + t) * kItemRows + g * kLanes;
          Floats acc = load_floats(sum);
          const float x_scale = a8_256_row(x.data + (token + t) * x.stride)[first_block + b].scale;
          add_super_block<kHasMin>(s, m, d, dmin, x_scale, acc);
          store_floats(sum, acc);
        }
      }
    }
  }
};

template <class Type>
void multiply_super_block_tiles(const Product& p) {
  constexpr size_t block_bytes = sizeof(typename Type::Block), n_parts = kOneByte<Type> ? 1 : 2;
  ScaledPanel panel;
  panel.weights = p.panel;
  panel.mins = panel.weights + kTilePanelSuperBlocks * 4 * kPanelGroups * n_parts * kTileVectors * sizeof(Ints);
  panel.d = reinterpret_cast<float*>(panel.mins + kTilePanelSuperBlocks * kPanelGroups * kMinVectors * sizeof(Ints));
  panel.dmin = panel.d + kTilePanelSuperBlocks * kPanelRows;
  for_panels<block_bytes, 256>(
      p, [&](const RowGroup& rows, size_t g, size_t n) { unpack_scaled<Type>(rows, g, n, panel); },
      [&](size_t first, size_t b, size_t n, Ahead& ahead) {
        const SuperTiles<n_parts, Type::kHasMin> tiles{
            panel, p.x, b, n, p.sums + first, ahead, lines_per_block(n * block_bytes * kPanelRows, n * 4, p.x.n, kTileRows)};
        const size_t n_groups = groups_of(p, first);
        for_token_tiles(p.x.n, kTileBytes, [&](size_t token, size_t n_tokens) { tiles.run(token, n_tokens, n_groups); });
      });
  release_tiles();
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
