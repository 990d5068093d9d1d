// Attention over the paged KV cache, for one decoded token and for thousands of a prompt alike, bit for bit.
//
// Pages are grouped in spans of 512 positions, cut by absolute position. A row's result is the merge of its spans in ascending
// order, each the merge of its pages (attention_tile.h). Usually one item computes all spans of a block of rows. Where that
// would leave threads idle (one sequence, few KV heads, a long context), an item is one span: it leaves its partial result in
// the shared workspace, and the second phase merges them in the same order with the same arithmetic.
#include "cpu/kernels/attention_tile.h"
#include "cpu/kernels/kernels_of_isa.h"
#include "cpu/kernels/quantize.h"
#include "cpu/kernels/rotation.h"
#include "cpu/kv_layout.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

using Op = ops::Attention<Rows, Weight>;

constexpr size_t kSpanPositions = 512;
constexpr size_t kBlockRows = 48;                   // of one KV head in one item, where a query has no more heads
constexpr size_t kPartHeader = 64 / sizeof(float);  // floats before the values of a partial result

// ---- how the work is cut

struct Shape {
  size_t n_heads, n_kv_heads, group, head_dim;  // group: heads per KV head
  size_t padded_dim;                            // floats between the rows of partial results
  size_t block_queries;                         // queries of an item
  size_t window;

  explicit Shape(const Op& op, const Batch& batch)
      : n_heads(op.q.width / op.head_dim),
        n_kv_heads(batch.cache.n_kv_heads),
        group(n_heads / n_kv_heads),
        head_dim(op.head_dim),
        padded_dim(round_up(op.head_dim, 64 / sizeof(float))),
        block_queries(larger(1, kBlockRows / group)),
        window(op.window) {}

  size_t first_visible(size_t position) const { return window > 0 && position + 1 > window ? position + 1 - window : 0; }
  size_t block_rows() const { return block_queries * group; }
  size_t part_floats() const { return kPartHeader + padded_dim; }
};

// One sequence's items.
struct Share {
  size_t n_blocks;  // of queries
  size_t first_span;
  size_t n_spans;           // that any of its rows sees
  bool split;               // one span per item
  size_t workspace_offset;  // floats; if split
  size_t first_item, n_items;
};

size_t blocks_of(const Shape& shape, const KvSequence& sequence) {
  return (sequence.n_rows + shape.block_queries - 1) / shape.block_queries;
}

// How much an item of an unsplit sequence does, in positions that a row reads.
size_t item_cost(const Shape& shape, const KvSequence& sequence) {
  const size_t last = sequence.start + sequence.n_rows - 1;
  return (last + 1 - shape.first_visible(last)) * smaller(sequence.n_rows, shape.block_queries);
}

struct Totals {
  size_t items, merge_items, workspace_floats;
};

// Calls body(sequence, share) for each sequence with rows, in order. Depends on op and batch alone, so that all threads agree.
template <class Body>
INFERNODE_INLINE Totals for_shares(const Shape& shape, const Batch& batch, Body&& body) {
  size_t cost = 0;
  for (size_t s = 0; s < batch.n_sequences; s++) {
    const KvSequence& sequence = batch.sequences[s];
    if (sequence.n_rows > 0) cost += blocks_of(shape, sequence) * shape.n_kv_heads * item_cost(shape, sequence);
  }
  Totals totals = {0, 0, 0};
  for (size_t s = 0; s < batch.n_sequences; s++) {
    const KvSequence& sequence = batch.sequences[s];
    if (sequence.n_rows == 0) continue;
    Share share;
    share.n_blocks = blocks_of(shape, sequence);
    share.first_span = shape.first_visible(sequence.start) / kSpanPositions;
    share.n_spans = (sequence.start + sequence.n_rows - 1) / kSpanPositions + 1 - share.first_span;
    const size_t workspace = sequence.n_rows * shape.n_heads * share.n_spans * shape.part_floats();
    // Worth it where one item is more than half of what each thread has to do.
    share.split = batch.n_threads > 1 && share.n_spans > 1 && item_cost(shape, sequence) * 2 * batch.n_threads > cost &&
                  totals.workspace_floats + workspace <= kMaxSharedBytes / sizeof(float);  // a step that needs more is split less
    share.workspace_offset = totals.workspace_floats;
    share.first_item = totals.items;
    share.n_items = share.n_blocks * shape.n_kv_heads * (share.split ? share.n_spans : 1);
    totals.items += share.n_items;
    if (share.split) {
      totals.workspace_floats += workspace;
      totals.merge_items += sequence.n_rows * shape.n_kv_heads;
    }
    body(sequence, share);
  }
  return totals;
}

INFERNODE_INLINE Totals totals_of(const Op& op, const Batch& batch) {
  return for_shares(Shape(op, batch), batch, [](const KvSequence&, const Share&) {});
}

// The partial result of a row and span: kPartHeader floats (maximum, sum), then head_dim values.
INFERNODE_INLINE float* part_of(const Shape& shape, const Batch& batch, const Share& share, size_t row, size_t head,
                                size_t span) {
  const size_t index = (row * shape.n_heads + head) * share.n_spans + span - share.first_span;
  return reinterpret_cast<float*>(batch.shared) + share.workspace_offset + index * shape.part_floats();
}

// ---- from run-time types and counts to a tile

using Attend = void (*)(TensorType, const std::byte*, const std::byte*, size_t, const float*, const Visible*, Softmax&, float*,
                        size_t, PageAhead&, float);

template <size_t R>
void attend(TensorType type, const std::byte* keys, const std::byte* values, size_t head_dim, const float* q,
            const Visible* visible, Softmax& rows, float* out, size_t out_stride, PageAhead& ahead, float softcap) {
  const auto attend_to = [&](const auto& page) { attend_page<R>(page, q, visible, rows, out, out_stride, ahead, softcap); };
  switch (type) {
    case TensorType::kF32: return attend_to(Page<float>(keys, values, head_dim));
    case TensorType::kF16: return attend_to(Page<F16>(keys, values, head_dim));
    case TensorType::kBf16: return attend_to(Page<Bf16>(keys, values, head_dim));
    default: return attend_to(Page<int8_t>(keys, values, head_dim));
  }
}

// Tiles are compiled for these numbers of rows; one with fewer is filled up with queries of zeros.
struct TileOfRows {
  size_t rows;
  Attend attend;
};
constexpr TileOfRows kTiles[] = {
    {1, attend<1>},
    {2, attend<2>},
    {4, attend<4>},
    {smaller(6, kTileRows), attend<smaller(6, kTileRows)>},
    {smaller(8, kTileRows), attend<smaller(8, kTileRows)>},
    {kTileRows, attend<kTileRows>},
};

// Rows [begin, begin + n) of an item. All tiles before the last are full.
struct Tile {
  size_t index, begin, n;
  const TileOfRows* kind;

  Tile(size_t index, size_t n_rows)
      : index(index), begin(index * kTileRows), n(smaller(kTileRows, n_rows - begin)), kind(kTiles) {
    while (kind->rows < n) kind++;
  }
  static size_t count(size_t n_rows) { return (n_rows + kTileRows - 1) / kTileRows; }
};

// ---- an item

// A thread's scratch: queries, partial and total results of a block of rows.
struct Scratch {
  float *q, *part_out, *total_out;
  Softmax *part, *total;  // of each tile

  Scratch(const Shape& shape, std::byte* data) {
    const size_t tiles = Tile::count(shape.block_rows()), outs = tiles * kTileRows * shape.padded_dim;
    part = reinterpret_cast<Softmax*>(data);
    total = part + tiles;
    part_out = reinterpret_cast<float*>(total + tiles);
    total_out = part_out + outs;
    q = total_out + outs;
  }
  static size_t bytes(const Shape& shape, TensorType type) {
    const size_t tiles = Tile::count(shape.block_rows());
    const size_t words = tiles * kTileRows * (2 * shape.padded_dim + query_words(type, shape.head_dim));
    return tiles * 2 * sizeof(Softmax) + words * sizeof(float);
  }
};

// A block of queries of one sequence against the spans [first_span, end_span) of one KV head.
struct Item {
  const Op& op;
  const Batch& batch;
  const Shape& shape;
  const KvSequence& sequence;
  const Share& share;
  size_t kv_head, first_query, end_query;  // queries are rows of the sequence

  size_t n_rows() const { return (end_query - first_query) * shape.group; }
  size_t query(size_t row) const { return first_query + row / shape.group; }
  size_t head(size_t row) const { return kv_head * shape.group + row % shape.group; }
  size_t position(size_t row) const { return sequence.start + query(row); }
  bool sees(size_t row, size_t begin, size_t end) const {
    return position(row) >= begin && shape.first_visible(position(row)) < end;
  }
  float* tile_queries(const Scratch& scratch, const Tile& tile) const {
    return scratch.q + tile.begin * query_words(batch.cache.type, shape.head_dim);
  }

  void read_queries(const Scratch& scratch) const {
    // All at once: they come from as many places as there are rows.
    for (size_t row = 0; row < n_rows(); row++)
      for (size_t e = 0; e < shape.head_dim; e += 64 / sizeof(float)) prefetch(query_values(row) + e);
    for (size_t t = 0; t < Tile::count(n_rows()); t++) {
      const Tile tile(t, n_rows());
      float* q = tile_queries(scratch, tile);
      for (size_t r = 0; r < tile.kind->rows; r++) {
        if (batch.cache.type == TensorType::kQ8_0)
          read_query_bytes(tile, r, reinterpret_cast<int32_t*>(q));
        else
          read_query(tile, r, q);
      }
    }
  }
  const float* query_values(size_t row) const {
    return f32_row(op.q, sequence.first_row + query(row)) + head(row) * shape.head_dim;
  }
  // The units of weigh_page.
  float query_scale() const { return op.scale * kLog2E; }

  void read_query(const Tile& tile, size_t r, float* q) const {
    const F32 scale = F32::all(query_scale());
    for (size_t first = 0; first < shape.head_dim; first += kQueryPiece) {
      float* piece = q + first * tile.kind->rows + r * kQueryPiece;
      for (size_t i = 0; i < kQueryPiece; i += F32::lanes) {
        const size_t e = first + i, rest = e < shape.head_dim ? shape.head_dim - e : 0;
        store(piece + i, r < tile.n && rest > 0 ? load(query_values(tile.begin + r) + e, rest) * scale : F32::zero());
      }
    }
  }
  void read_query_bytes(const Tile& tile, size_t r, int32_t* q) const {
    const size_t stride = tile.kind->rows, blocks = kv_scale_blocks(TensorType::kQ8_0, shape.head_dim);
    float* scales = reinterpret_cast<float*>(q + blocks * 8 * stride);
    int32_t* offsets = q + blocks * 9 * stride;
    const F32 scale = F32::all(query_scale());
    for (size_t block = 0; block < blocks; block++) {
      float x[32] = {};
      const size_t first = block * 32, end = r < tile.n ? smaller(first + 32, shape.head_dim) : first;
      for (size_t e = first; e < end; e += F32::lanes)
        store(x + e - first, load(query_values(tile.begin + r) + e, end - e) * scale);
      rotate_32(x, end - first, shape.head_dim, x);
      const float of_block = block_scale(x, 32), inverse = inverse_scale(of_block);
      int8_t bytes[32];
      I32 total = I32::zero();
      for (size_t e = 0; e < 32; e += F32::lanes) {
        const I32 values = quantized(x + e, F32::lanes, inverse);
        store(bytes + e, values);
        total = total + values;
      }
      for (size_t i = 0; i < 8; i++) __builtin_memcpy(q + (block * 8 + i) * stride + r, bytes + i * 4, 4);
      scales[block * stride + r] = of_block;
      offsets[block * stride + r] = -kKeyOffset * sum(total);
    }
  }

  // This KV head's keys and values in a page: one piece of memory, K then V.
  const std::byte* part_of_page(size_t page) const {
    const KvCacheView& cache = batch.cache;
    const int32_t id = sequence.pages[cache.layer_group[op.layer]][page];
    return cache.pool + static_cast<size_t>(id) * cache.page_bytes + cache.layer_slot[op.layer] * cache.slot_bytes +
           k_offset(cache.type, shape.head_dim, kv_head);
  }

  void attend_to_page(size_t page, size_t last_page, const Scratch& scratch) const {
    const TensorType type = batch.cache.type;
    const size_t part_bytes = kv_part_bytes(type, shape.head_dim);
    const std::byte *keys = part_of_page(page), *values = keys + part_bytes;
    PageAhead ahead = {nullptr, nullptr};
    if (page < last_page) ahead = {part_of_page(page + 1), part_of_page(page + 1) + 2 * part_bytes};
    const size_t begin = page * kPagePositions, end = begin + kPagePositions;
    for (size_t t = 0; t < Tile::count(n_rows()); t++) {
      const Tile tile(t, n_rows());
      const size_t first = position(tile.begin), last = position(tile.begin + tile.n - 1);
      if (last < begin || shape.first_visible(first) >= end) continue;
      Visible visible[kTileRows] = {};
      const bool partly = first + 1 < end || shape.first_visible(last) > begin;
      for (size_t r = 0; partly && r < tile.n; r++) {
        const size_t at = position(tile.begin + r);
        const size_t from = larger(shape.first_visible(at), begin), to = smaller(at + 1, end);
        if (from < to) visible[r] = {from - begin, to - begin};
      }
      tile.kind->attend(type, keys, values, shape.head_dim, tile_queries(scratch, tile), partly ? visible : nullptr,
                        scratch.part[t], scratch.part_out + tile.begin * shape.padded_dim, shape.padded_dim, ahead,
                        op.softcap * kLog2E);
    }
  }

  void attend_to_spans(size_t first_span, size_t end_span, const Scratch& scratch) const {
    const size_t tiles = Tile::count(n_rows()), out_bytes = tiles * kTileRows * shape.padded_dim * sizeof(float);
    read_queries(scratch);
    for (size_t t = 0; t < tiles; t++) scratch.total[t].clear();
    __builtin_memset(scratch.total_out, 0, out_bytes);
    const size_t first_position = shape.first_visible(sequence.start + first_query),
                 last_position = sequence.start + end_query - 1;
    for (size_t span = first_span; span < end_span; span++) {
      const size_t begin = larger(span * kSpanPositions, first_position);
      const size_t end = smaller((span + 1) * kSpanPositions, last_position + 1);
      if (begin >= end) continue;
      for (size_t t = 0; t < tiles; t++) scratch.part[t].clear();
      __builtin_memset(scratch.part_out, 0, out_bytes);
      for (size_t page = begin / kPagePositions; page <= (end - 1) / kPagePositions; page++)
        attend_to_page(page, last_position / kPagePositions, scratch);
      if (share.split)
        keep_span(span, scratch);
      else
        merge_span(span, scratch);
    }
    if (share.split) return;
    for (size_t row = 0; row < n_rows(); row++)
      finish(row, scratch.total[row / kTileRows].sum[row % kTileRows], scratch.total_out + row * shape.padded_dim);
  }

  bool sees_span(size_t row, size_t span) const { return sees(row, span * kSpanPositions, (span + 1) * kSpanPositions); }

  void keep_span(size_t span, const Scratch& scratch) const {
    for (size_t row = 0; row < n_rows(); row++) {
      if (!sees_span(row, span)) continue;
      float* kept = part_of(shape, batch, share, query(row), head(row), span);
      kept[0] = scratch.part[row / kTileRows].max[row % kTileRows];
      kept[1] = scratch.part[row / kTileRows].sum[row % kTileRows];
      __builtin_memcpy(kept + kPartHeader, scratch.part_out + row * shape.padded_dim, shape.padded_dim * sizeof(float));
    }
  }

  void merge_span(size_t span, const Scratch& scratch) const {
    for (size_t t = 0; t < Tile::count(n_rows()); t++) {
      const Tile tile(t, n_rows());
      Softmax &total = scratch.total[t], &part = scratch.part[t];
      alignas(64) float old[kRowSlots], added[kRowSlots];
      for (size_t i = 0; i < kRowSlots; i += F32::lanes) {
        F32 max = load(total.max + i), sum = load(total.sum + i);
        const Factors factors = merge_softmax(max, sum, load(part.max + i), load(part.sum + i));
        store(total.max + i, max);
        store(total.sum + i, sum);
        store(old + i, factors.old);
        store(added + i, factors.added);
      }
      for (size_t r = 0; r < tile.n; r++) {
        const size_t row = tile.begin + r, at = row * shape.padded_dim;
        if (sees_span(row, span)) merge_values(scratch.total_out + at, scratch.part_out + at, old[r], added[r], shape.head_dim);
      }
    }
  }

  // Merges what keep_span left of one row.
  void merge_row(size_t row, float* total_out) const {
    const size_t last = position(row);
    F32 max = F32::all(kNoScore), sum = F32::zero();
    __builtin_memset(total_out, 0, shape.padded_dim * sizeof(float));
    for (size_t span = shape.first_visible(last) / kSpanPositions; span <= last / kSpanPositions; span++) {
      const float* kept = part_of(shape, batch, share, query(row), head(row), span);
      const Factors factors = merge_softmax(max, sum, F32::all(kept[0]), F32::all(kept[1]));
      merge_values(total_out, kept + kPartHeader, first_lane(factors.old), first_lane(factors.added), shape.head_dim);
    }
    finish(row, first_lane(sum), total_out);
  }

  void finish(size_t row, float sum, const float* total_out) const {
    float* out = f32_row(op.out, sequence.first_row + query(row)) + head(row) * shape.head_dim;
    for (size_t e = 0, n = shape.head_dim; e < n; e += F32::lanes) store(out + e, load(total_out + e) / F32::all(sum), n - e);
    if (batch.cache.type == TensorType::kQ8_0)
      for (size_t e = 0, n = shape.head_dim; e < n; e += 32) rotate_32(out + e, smaller(32, n - e), n, out + e);
  }
};

// Causal blocks grow more expensive: taken from both ends in turn, so that any contiguous half of the items is half of the
// work.
size_t block_in_turn(size_t index, size_t n_blocks) { return index % 2 == 0 ? index / 2 : n_blocks - 1 - index / 2; }

}  // namespace

size_t items(const Op& op, const Batch& batch) { return totals_of(op, batch).items; }

size_t scratch_bytes(const Op& op, const Batch& batch) { return Scratch::bytes(Shape(op, batch), batch.cache.type); }

size_t shared_bytes(const Op& op, const Batch& batch) { return totals_of(op, batch).workspace_floats * sizeof(float); }

void run(const Op& op, const Batch& batch, Range items, std::byte* scratch_data) {
  const Shape shape(op, batch);
  const Scratch scratch(shape, scratch_data);
  for_shares(shape, batch, [&](const KvSequence& sequence, const Share& share) {
    const size_t n_spans = share.split ? share.n_spans : 1;
    for (size_t i = larger(items.begin, share.first_item); i < smaller(items.end, share.first_item + share.n_items); i++) {
      // KV heads are the slow axis, spans the fast one.
      const size_t index = i - share.first_item, block = block_in_turn(index / n_spans % share.n_blocks, share.n_blocks);
      const size_t first_query = block * shape.block_queries, span = share.first_span + index % n_spans;
      const Item item = {op,          batch,
                         shape,       sequence,
                         share,       index / n_spans / share.n_blocks,
                         first_query, smaller(first_query + shape.block_queries, sequence.n_rows)};
      item.attend_to_spans(span, share.split ? span + 1 : share.first_span + share.n_spans, scratch);
    }
  });
}

size_t merge_items(const Op& op, const Batch& batch) { return totals_of(op, batch).merge_items; }

void merge(const Op& op, const Batch& batch, Range items, std::byte* scratch_data) {
  const Shape shape(op, batch);
  const Scratch scratch(shape, scratch_data);
  size_t first_item = 0;
  for_shares(shape, batch, [&](const KvSequence& sequence, const Share& share) {
    if (!share.split) return;
    const size_t n_items = sequence.n_rows * shape.n_kv_heads;  // an item: the heads of a query that share a KV head
    for (size_t i = larger(items.begin, first_item); i < smaller(items.end, first_item + n_items); i++) {
      const size_t query = (i - first_item) / shape.n_kv_heads, kv_head = (i - first_item) % shape.n_kv_heads;
      const Item item = {op, batch, shape, sequence, share, kv_head, query, query + 1};
      for (size_t row = 0; row < shape.group; row++) item.merge_row(row, scratch.total_out);
    }
    first_item += n_items;
  });
}

}  // namespace infernode::cpu::INFERNODE_ISA
