// What the vector forms of the matmul share: panels, groups of rows, fetching ahead, and choosing tiles for the tokens at hand.
#pragma once

#include "cpu/kernels/block_lanes.h"
#include "cpu/kernels/product.h"
#include "int8.h"
#include "quant/activations.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

constexpr size_t kPanelRows = kPanelGroups * kLanes;
static_assert(kItemRows % kPanelRows == 0);

// Whether one token, too, takes turned weights: measured faster for these.
template <class Type>
constexpr bool kTurnsForOne = requires { Type::kTurnsForOne; };
// Up to so many tokens use weights straight from the registers in which they are turned; more share a panel.
constexpr size_t kFewTokens = 8;
constexpr size_t kPanelValues = 512;  // of K: a panel stays in L1 beside the activations, for each tile reads it once
// A super-block of 256 weights takes 256 bytes or twice as many, 16 scales and 8 pairs of 4 bytes, and two f32.
constexpr size_t kSuperBlockBytes = 512 + 4 * 26;
// A group with fewer rows than lanes is copied, so many values of K at a time; the largest block has 34 bytes per 32.
constexpr size_t kCopiedValues = 1024;
constexpr size_t kCopyBytes = kCopiedValues / 32 * 34 * kLanes;
// What is left of it is for the panel: room for kPanelValues, and for a token's activations as bf16 pairs.
constexpr size_t kPanelBytes = 65536 + kCopyBytes;
static_assert(kPanelBytes - kCopyBytes >= kPanelValues / 256 * kSuperBlockBytes * kPanelRows);

// What is asked for while computing on something else: one run of memory after another.
class Ahead {
 public:
  // One run without end: fetched linearly a matrix arrives two to three times faster than row by row.
  explicit Ahead(const std::byte* next) : next_(next), run_(PTRDIFF_MAX), left_(PTRDIFF_MAX), to_next_run_(0) {}
  // The same `bytes` of each row.
  Ahead(const std::byte* first, size_t row_bytes, size_t bytes)
      : next_(first), run_(static_cast<ptrdiff_t>(bytes)), left_(run_), to_next_run_(row_bytes - (bytes + 63) / 64 * 64) {}

  // Asks for the next kBytes of a run without end. Often and little: a burst of requests would stall.
  template <size_t kBytes>
  INFERNODE_INLINE void fetch() {
    asm volatile("");  // compilers would gather the requests of all steps in front of the first one
#pragma GCC unroll 64
    for (size_t at = 0; at < kBytes; at += 64) __builtin_prefetch(next_ + at, 0, 3);
    next_ += kBytes;
  }
  INFERNODE_INLINE void fetch_lines(size_t n) {
    for (; n > 0; n--) {
      __builtin_prefetch(next_, 0, 3);
      next_ += 64;
      left_ -= 64;
      if (left_ > 0) continue;
      next_ += to_next_run_;
      left_ = run_;
    }
  }

 private:
  const std::byte* next_;
  ptrdiff_t run_, left_;
  size_t to_next_run_;
};

// Rows first … first + kLanes of an item, from byte `offset` of each on; `bytes` of them are read. If there are fewer rows, the
// last one stands for the absent ones: their sums are dropped.
inline RowGroup row_group(const Product& p, size_t first, size_t offset, size_t bytes) {
  const std::byte* data = p.weight.data + (p.row + first) * p.weight.row_bytes + offset;
  const size_t n = p.n_rows - first;
  if (n >= kLanes) return {data, p.weight.row_bytes};
  std::byte* copy = p.panel + kPanelBytes - kCopyBytes;
  for (size_t i = 0; i < kLanes; i++) __builtin_memcpy(copy + i * bytes, data + (i < n ? i : n - 1) * p.weight.row_bytes, bytes);
  return {copy, bytes};
}
// While n rows from `first` on are read: as many behind them.
INFERNODE_INLINE Ahead ahead_of_rows(const Product& p, size_t first, size_t n) {
  return Ahead(p.weight.data + (p.row + first + n) * p.weight.row_bytes);
}

// What `ahead` fetches while a panel is multiplied: with few tokens the rows behind the panel's. The activations of many would
// drive those out of the cache before they are used; so for them it is the bytes from `next` on of the same rows, or the first
// ones of the next.
constexpr size_t kCachedActivations = 512 << 10;
INFERNODE_INLINE void look_ahead(const Product& p, size_t first, size_t next, size_t bytes, Ahead& ahead) {
  if (p.x.n * p.x.stride < kCachedActivations) return;
  const bool same = next < p.weight.row_bytes;
  const std::byte* rows = p.weight.data + (p.row + first + (same ? 0 : kPanelRows)) * p.weight.row_bytes;
  ahead = Ahead(rows + (same ? next : 0), p.weight.row_bytes, bytes);
}

// Calls f(rows, first block, blocks) for the blocks of a group: all at once, or in pieces if the group must be copied.
template <size_t kBlockBytes, size_t kBlockValues, class F>
INFERNODE_INLINE void for_pieces(const Product& p, size_t first, F&& f) {
  const size_t n_blocks = p.weight.cols / kBlockValues, piece = p.n_rows - first >= kLanes ? n_blocks : kCopiedValues / kBlockValues;
  for (size_t b = 0; b < n_blocks; b += piece) {
    const size_t n = n_blocks - b < piece ? n_blocks - b : piece;
    f(row_group(p, first, b * kBlockBytes, n * kBlockBytes), b, n);
  }
}

INFERNODE_INLINE void clear_sums(const Product& p) {
  for (size_t t = 0; t < p.x.n; t++)
    for (size_t r = 0; r < kItemRows; r += kLanes) store_floats(p.sums + t * kItemRows + r, Floats{});
}

// Weights of a panel, or of a step in registers, for add_dots: four values of every row of group g.
template <size_t kChain>
struct PanelWeights {
  static constexpr size_t kBytes = Prepared<kChain>::kVectors * sizeof(Ints);

  const std::byte* data;  // [run][kPanelGroups][Prepared::kVectors][kLanes * 4]
  INFERNODE_INLINE Prepared<kChain> operator()(size_t run, size_t g) const {
    return Prepared<kChain>(data + (run * kPanelGroups + g) * kBytes);
  }
  INFERNODE_INLINE static void store(Ints w, std::byte* data, size_t run, size_t g) {
    Prepared<kChain>::store(w, data + (run * kPanelGroups + g) * kBytes);
  }
};
template <size_t kChain>
struct TurnedWeights {
  const Ints* w;
  INFERNODE_INLINE Prepared<kChain> operator()(size_t run, size_t) const { return Prepared<kChain>(w[run]); }
};

// What follows a panel of so many bytes of weights is fetched while its last tiles are computed, some lines per block: memory
// would be idle in the meantime.
constexpr size_t kFetchingTiles = 8;
INFERNODE_INLINE bool fetches(size_t token, size_t n_tokens, size_t tile_tokens) { return token + kFetchingTiles * tile_tokens >= n_tokens; }
INFERNODE_INLINE size_t lines_per_block(size_t panel_bytes, size_t n_blocks, size_t n_tokens, size_t tile_tokens) {
  const size_t n_tiles = (n_tokens + tile_tokens - 1) / tile_tokens;
  const size_t parts = n_blocks * (n_tiles < kFetchingTiles ? n_tiles : kFetchingTiles);
  return (panel_bytes / 64 + parts - 1) / parts;
}

// Groups that a panel from row `first` on has.
INFERNODE_INLINE size_t groups_of(const Product& p, size_t first) { return p.n_rows - first > kLanes ? kPanelGroups : 1; }

// What all products of many tokens do. For each panel of an item calls unpack(rows, group, blocks), for the groups that are
// there, and then multiply(panel's first row, first block, blocks, ahead).
template <size_t kBlockBytes, size_t kBlockValues, class Unpack, class Multiply>
INFERNODE_INLINE void for_panels(const Product& p, Unpack&& unpack, Multiply&& multiply) {
  constexpr size_t per_panel = kPanelValues / kBlockValues;
  const size_t n_blocks = p.weight.cols / kBlockValues;
  clear_sums(p);
  for (size_t first = 0; first < p.n_rows; first += kPanelRows) {
    Ahead ahead = ahead_of_rows(p, first, kPanelRows);
    for (size_t b = 0; b < n_blocks; b += per_panel) {
      const size_t n = n_blocks - b < per_panel ? n_blocks - b : per_panel;
      for (size_t g = 0; g < groups_of(p, first); g++)
        unpack(row_group(p, first + g * kLanes, b * kBlockBytes, n * kBlockBytes), g, n);
      look_ahead(p, first, (b + n) * kBlockBytes, n * kBlockBytes, ahead);
      multiply(first, b, n, ahead);
    }
  }
}

// Calls tile.template run<n>(first token) for n <= kTokens.
template <size_t kTokens, class Tile>
INFERNODE_INLINE void run_tile(const Tile& tile, size_t n, size_t token) {
  if constexpr (kTokens > 1)
    if (n < kTokens) return run_tile<kTokens - 1>(tile, n, token);
  tile.template run<kTokens>(token);
}
// Covers n_tokens with the fewest tiles of at most kTokens, of nearly equal sizes: a small tile cannot keep the multipliers
// busy.
template <size_t kTokens, class Tile>
INFERNODE_INLINE void for_tokens(size_t n_tokens, const Tile& tile) {
  size_t n_tiles = (n_tokens + kTokens - 1) / kTokens;
  for (size_t t = 0; n_tiles > 0; n_tiles--) {
    const size_t n = (n_tokens - t + n_tiles - 1) / n_tiles;
    run_tile<kTokens>(tile, n, t);
    t += n;
  }
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
