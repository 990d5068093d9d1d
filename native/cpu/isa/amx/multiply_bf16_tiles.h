// Products with bf16 weights by tiles, and for one token in their order. The contract is that of tdpbf16ps (Intel SDM vol. 2),
// which is not that of vdpbf16ps: activations are rounded to bf16, and of each 32 values e = Σ of the even products and o = Σ
// of the odd ones, each from 0 by fma in increasing k, then acc = acc + (e + o); all to nearest even, and subnormals are zeros
// everywhere. Missing values are zeros. One token takes two vdpbf16ps for a pair, each with half of it silenced: that costs
// instructions, not time, while memory is what it waits for. Another document of Intel's (the Intrinsics Guide) has the
// additions in another order. No machine was at hand to ask, so a process asks its own, once; should it disagree, bf16 is
// multiplied as the base does, and the promise of equal bits holds all the same.
#pragma once

#include "cpu/isa/amx/multiply_tiles.h"
#include "cpu/isa/avx512_bf16/bf16_pairs.h"
#include "cpu/kernels/multiply_bf16_pairs.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

constexpr size_t kTileValues = kTileBytes / 2;  // of a row: pairs of k and k + 1
static_assert(kTileValues == kValuesOfStep);
constexpr size_t kBf16PanelValues = 256;      // 16 KB of weights, 8 KB of a tile's activations
constexpr size_t kBf16StreamedValues = 8192;  // of a token, twice
static_assert(kPanelBytes - kCopyBytes >= 2 * kBf16StreamedValues * 2 && kBf16StreamedValues % kTileValues == 0);

INFERNODE_INLINE Floats without_subnormals(Floats x) {
  return _mm512_mask_and_ps(x, _mm512_fpclass_ps_mask(x, 0x20), x, _mm512_set1_ps(-0.0f));
}

// The even and the odd products of 32 values.
struct PairChains {
  Floats even = {}, odd = {};

  // even_x: beside each even value -0, which times 0 adds nothing to any sum, not even a sign.
  INFERNODE_INLINE void add(Ints w, Ints even_x, Ints odd_x) {
    even = add_bf16_pairs(even, w & 0x0000ffff, even_x);
    odd = add_bf16_pairs(odd, w & static_cast<int>(0xffff0000), odd_x);
  }
  INFERNODE_INLINE Floats added_to(Floats acc) const { return without_subnormals(acc + without_subnormals(even + odd)); }
};
INFERNODE_INLINE Ints even_of(Ints pairs) { return (pairs & 0x0000ffff) | static_cast<int>(0x80000000); }
INFERNODE_INLINE Ints odd_of(Ints pairs) { return (pairs & static_cast<int>(0xffff0000)) | 0x00008000; }

// ---- one token

[[gnu::noinline]] inline void stream_chains(const RowGroup (&groups)[kPanelGroups], size_t first, size_t n,
                                            const std::byte* even_x, const std::byte* odd_x, Ahead ahead, float* sums) {
  Floats acc[kPanelGroups];
  for (size_t g = 0; g < kPanelGroups; g++) acc[g] = load_floats(sums + g * kLanes);
  for (size_t k = 0; k < n; k += kTileValues)
#pragma GCC unroll 4
    for (size_t g = 0; g < kPanelGroups; g++) {
      ahead.fetch<kLanes * sizeof(Ints)>();
      Ints words[kLanes];
      load_pairs(groups[g], kLanes, first + k, n - k, words);
      PairChains chains;
#pragma GCC unroll 16
      for (size_t i = 0; i < kPairsOfStep; i++)
        chains.add(words[i], all_of(even_x + k * 2 + i * 4), all_of(odd_x + k * 2 + i * 4));
      acc[g] = chains.added_to(acc[g]);
    }
  for (size_t g = 0; g < kPanelGroups; g++) store_floats(sums + g * kLanes, acc[g]);
}

inline void stream_chains(const Product& p) {
  const float* x = reinterpret_cast<const float*>(p.x.data);
  std::byte* const odd_x = p.panel + kBf16StreamedValues * 2;
  for (size_t k = 0; k < p.weight.cols; k += kBf16StreamedValues) {
    const size_t n = p.weight.cols - k < kBf16StreamedValues ? p.weight.cols - k : kBf16StreamedValues;
    convert_row(x + k, n, p.panel);
    for (size_t i = 0; i < n; i += kTileValues) {
      const Ints pairs = load_ints(p.panel + i * 2);
      store_ints(p.panel + i * 2, even_of(pairs));
      store_ints(odd_x + i * 2, odd_of(pairs));
    }
    for (size_t first_row = 0; first_row < p.n_rows; first_row += kPanelRows) {
      RowGroup groups[kPanelGroups];
      for (size_t g = 0; g < kPanelGroups; g++) groups[g] = row_group(p, first_row + g * kLanes, 0, p.weight.row_bytes);
      stream_chains(groups, k, n, p.panel, odd_x, ahead_of_rows(p, first_row, kPanelRows), p.sums + first_row);
    }
  }
}

// ---- several tokens

struct Bf16Tiles {
  const std::byte* panel;  // [pair][kPanelGroups][kLanes * 4]
  const Rows& x;
  size_t first, n;  // values of k
  float* sums;

  [[gnu::noinline]] void run(size_t token, size_t n_tokens) const {
    constexpr size_t stride = kItemRows * sizeof(float), group_bytes = kPanelGroups * sizeof(Ints);
    alignas(64) std::byte pairs[kTileRows][kBf16PanelValues * 2];
    for (size_t t = 0; t < n_tokens; t++)
      convert_row(reinterpret_cast<const float*>(x.data + (token + t) * x.stride) + first, n, pairs[t]);
    float* to = sums + token * kItemRows;
    load_tile<0>(to, stride);
    load_tile<1>(to + kLanes, stride);
    for (size_t k = 0; k < n; k += kTileValues) {
      const std::byte* weights = panel + k / 2 * group_bytes;
      load_tile<4>(pairs[0] + k * 2, sizeof pairs[0]);
      load_tile<6>(weights, group_bytes);
      add_bf16_dots<0, 4, 6>();
      load_tile<7>(weights + sizeof(Ints), group_bytes);
      add_bf16_dots<1, 4, 7>();
    }
    store_tile<0>(to, stride);
    store_tile<1>(to + kLanes, stride);
  }
};

inline void multiply_panels(const Product& p) {
  for (size_t first = 0; first < p.n_rows; first += kPanelRows) {
    Ahead ahead = ahead_of_rows(p, first, kPanelRows);
    for (size_t k = 0; k < p.weight.cols; k += kBf16PanelValues) {
      const size_t n = p.weight.cols - k < kBf16PanelValues ? p.weight.cols - k : kBf16PanelValues;
      for (size_t g = 0; g < kPanelGroups; g++) {
        const size_t row = first + g * kLanes < p.n_rows ? first + g * kLanes : first;
        const RowGroup rows{p.weight.data + (p.row + row) * p.weight.row_bytes, p.weight.row_bytes};
        unpack_pairs(rows, p.n_rows - row, g, k, n, ahead, p.panel);
      }
      const Bf16Tiles tiles{p.panel, p.x, k, n, p.sums + first};
      for_token_tiles(p.x.n, kTileBytes, [&](size_t token, size_t n_tokens) { tiles.run(token, n_tokens); });
    }
  }
  release_tiles();
}

// ---- whether this CPU keeps the order

// bf16 with magnitudes around 1, and some whose products are near the smallest normal number.
INFERNODE_INLINE uint32_t next_pair(uint32_t& state) {
  uint32_t pair = 0;
  for (int i = 0; i < 2; i++) {
    state = state * 1664525 + 1013904223;
    const uint32_t exponent = (state >> 28 == 0 ? 60 : 122) + (state >> 24 & 7);
    pair = pair << 16 | (state >> 23 & 1) << 15 | exponent << 7 | (state >> 16 & 127);
  }
  return pair;
}

[[gnu::noinline]] inline bool keeps_order() {
  alignas(64) uint32_t tokens[kTileRows][kTileRows], weights[kTileRows][kLanes];
  alignas(64) float sums[kTileRows][kLanes];
  uint32_t state = 1;
  for (size_t i = 0; i < kTileRows; i++)
    for (size_t j = 0; j < kTileRows; j++) {
      tokens[i][j] = next_pair(state), weights[i][j] = next_pair(state);
      sums[i][j] = static_cast<float>(i) - 7.3f * static_cast<float>(j);
    }
  configure_tiles(kTileRows, kTileBytes);
  load_tile<0>(sums, sizeof sums[0]);
  load_tile<4>(tokens, sizeof tokens[0]);
  load_tile<6>(weights, sizeof weights[0]);
  add_bf16_dots<0, 4, 6>();
  alignas(64) float by_tile[kTileRows][kLanes];
  store_tile<0>(by_tile, sizeof by_tile[0]);
  release_tiles();
  bool same = true;
  for (size_t t = 0; t < kTileRows; t++) {
    PairChains chains;
    for (size_t i = 0; i < kPairsOfStep; i++) {
      const Ints pair = all_of(&tokens[t][i]);
      chains.add(load_ints(weights[i]), even_of(pair), odd_of(pair));
    }
    const __m512i expected = _mm512_castps_si512(chains.added_to(load_floats(sums[t])));
    same = same && _mm512_cmpneq_epi32_mask(expected, _mm512_castps_si512(load_floats(by_tile[t]))) == 0;
  }
  return same;
}
inline bool keeps_order_here() {
  static int known;  // 1: no, 2: yes; several threads may find it out
  int answer = __atomic_load_n(&known, __ATOMIC_RELAXED);
  if (answer == 0) {
    answer = keeps_order() ? 2 : 1;
    __atomic_store_n(&known, answer, __ATOMIC_RELAXED);
  }
  return answer == 2;
}

// False where the base is to do it.
inline bool multiply_bf16(const Product& p) {
  if (!keeps_order_here()) return false;
  clear_sums(p);
  p.x.n == 1 && p.n_rows % kPanelRows == 0 ? stream_chains(p) : multiply_panels(p);
  return true;
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
