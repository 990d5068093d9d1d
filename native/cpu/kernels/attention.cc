// Attention over the paged KV cache, for one decoded token and for thousands of a prompt alike, bit for bit.
//
// Pages are grouped in spans of 512 positions, cut by absolute position. A row's result is the merge of its spans in ascending
// order, each the merge of its pages (attention_tile.h). Usually one item computes all spans of a block of rows. Where that
// would leave threads idle (one sequence, few KV heads, a long context), an item is one span: it leaves its partial result in
// the shared workspace, and the second phase merges them in the same order with the same arithmetic.
#include "cpu/kernels/attention_tile.h"
#include "cpu/kernels/kernels_of_isa.h"
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

template <size_t R>
void attend(TensorType type, const std::byte* keys, const std::byte* values, size_t head_dim, const float* q,
            const Visible* visible, Softmax* rows, float* out, size_t out_stride, Ahead& ahead, float softcap) {
  const auto attend_to = [&](const auto& page) { attend_page<R>(page, q, visible, rows, out, out_stride, ahead, softcap); };
  switch (type) {
    case TensorType::kF32: return attend_to(Page<float>(keys, values, head_dim));
    case TensorType::kF16: return attend_to(Page<F16>(keys, values, head_dim));
    case TensorType::kBf16: return attend_to(Page<Bf16>(keys, values, head_dim));
    default: return attend_to(Page<int8_t>(keys, values, head_dim));
  }
}

using Attend = void (*)(TensorType, const std::byte*, const std::byte*, size_t, const float*, const Visible*, Softmax*, float*,
                        size_t, Ahead&, float);
constexpr Attend kAttend[] = {nullptr, attend<1>, attend<2>, attend<3>, attend<4>, attend<5>, attend<6>};
static_assert(kTileRows < sizeof(kAttend) / sizeof(kAttend[0]));

// ---- an item

// A thread's scratch: queries, partial and total results of a block of rows.
struct Scratch {
  float *q, *part_out, *total_out;
  Softmax *part, *total;

  Scratch(const Shape& shape, std::byte* data) {
    const size_t rows = shape.block_rows(), outs = rows * shape.padded_dim;
    q = reinterpret_cast<float*>(data);
    part_out = q + outs;
    total_out = part_out + outs;
    part = reinterpret_cast<Softmax*>(total_out + outs);
    total = part + rows;
  }
  static size_t bytes(const Shape& shape) {
    return shape.block_rows() * (3 * shape.padded_dim * sizeof(float) + 2 * sizeof(Softmax));
  }
};

// Rows are dealt to tiles evenly: 8 rows are 4 + 4, not 6 + 2.
struct Tiles {
  size_t n_rows, n;
  explicit Tiles(size_t rows) : n_rows(rows), n((rows + kTileRows - 1) / kTileRows) {}
  size_t begin(size_t tile) const { return tile * n_rows / n; }
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

  // q · scale as [E, rows of the tile] for each tile in turn: the order in which a tile reads it.
  void read_queries(float* q, Tiles tiles) const {
    for (size_t tile = 0; tile < tiles.n; tile++) {
      const size_t begin = tiles.begin(tile), n = tiles.begin(tile + 1) - begin;
      float* out = q + begin * shape.head_dim;
      for (size_t r = 0; r < n; r++) {
        const float* x = f32_row(op.q, sequence.first_row + query(begin + r)) + head(begin + r) * shape.head_dim;
        for (size_t e = 0; e < shape.head_dim; e++) out[e * n + r] = x[e] * op.scale;
      }
    }
  }

  // This KV head's keys and values in a page: one piece of memory, K then V.
  const std::byte* part_of_page(size_t page) const {
    const KvCacheView& cache = batch.cache;
    const int32_t id = sequence.pages[cache.layer_group[op.layer]][page];
    return cache.pool + static_cast<size_t>(id) * cache.page_bytes + cache.layer_slot[op.layer] * cache.slot_bytes +
           k_offset(cache.type, shape.head_dim, kv_head);
  }

  void attend_to_page(size_t page, size_t last_page, const Scratch& scratch, Tiles tiles) const {
    const TensorType type = batch.cache.type;
    const size_t part_bytes = kv_part_bytes(type, shape.head_dim);
    const std::byte *keys = part_of_page(page), *values = keys + part_bytes;
    Ahead ahead = {nullptr, nullptr};
    if (page < last_page) ahead = {part_of_page(page + 1), part_of_page(page + 1) + 2 * part_bytes};
    const size_t page_begin = page * kPagePositions, page_end = page_begin + kPagePositions;
    for (size_t tile = 0; tile < tiles.n; tile++) {
      const size_t begin = tiles.begin(tile), n = tiles.begin(tile + 1) - begin;
      Visible visible[kTileRows];
      bool any = false;
      for (size_t r = 0; r < n; r++) {
        const size_t position = sequence.start + query(begin + r);
        const size_t from = larger(shape.first_visible(position), page_begin), to = smaller(position + 1, page_end);
        visible[r] = from < to ? Visible{from - page_begin, to - page_begin} : Visible{0, 0};
        any = any || from < to;
      }
      if (any)
        kAttend[n](type, keys, values, shape.head_dim, scratch.q + begin * shape.head_dim, visible, scratch.part + begin,
                   scratch.part_out + begin * shape.padded_dim, shape.padded_dim, ahead, op.softcap);
    }
  }

  void attend_to_spans(size_t first_span, size_t end_span, const Scratch& scratch) const {
    const size_t rows = n_rows();
    const Tiles tiles(rows);
    read_queries(scratch.q, tiles);
    for (size_t r = 0; r < rows; r++) scratch.total[r] = {0, 0, true};
    const size_t first_position = shape.first_visible(sequence.start + first_query),
                 last_position = sequence.start + end_query - 1;
    for (size_t span = first_span; span < end_span; span++) {
      const size_t begin = larger(span * kSpanPositions, first_position);
      const size_t end = smaller((span + 1) * kSpanPositions, last_position + 1);
      if (begin >= end) continue;
      for (size_t r = 0; r < rows; r++) scratch.part[r] = {0, 0, true};
      for (size_t page = begin / kPagePositions; page <= (end - 1) / kPagePositions; page++)
        attend_to_page(page, last_position / kPagePositions, scratch, tiles);
      for (size_t r = 0; r < rows; r++) {
        if (scratch.part[r].empty) continue;
        const float* out = scratch.part_out + r * shape.padded_dim;
        if (share.split)
          keep_part(r, span, scratch.part[r], out);
        else
          merge_part(scratch.total[r], scratch.total_out + r * shape.padded_dim, scratch.part[r], out, shape.head_dim);
      }
    }
    if (share.split) return;
    for (size_t r = 0; r < rows; r++) finish(r, scratch.total[r], scratch.total_out + r * shape.padded_dim);
  }

  void keep_part(size_t row, size_t span, const Softmax& part, const float* out) const {
    float* kept = part_of(shape, batch, share, query(row), head(row), span);
    kept[0] = part.max;
    kept[1] = part.sum;
    for (size_t e = 0; e < shape.head_dim; e += F32::lanes) store(kept + kPartHeader + e, load(out + e), shape.padded_dim - e);
  }

  // Merges what keep_part left of one row.
  void merge_row(size_t row, float* total_out) const {
    const size_t position = sequence.start + query(row);
    Softmax total = {0, 0, true};
    for (size_t span = shape.first_visible(position) / kSpanPositions; span <= position / kSpanPositions; span++) {
      const float* kept = part_of(shape, batch, share, query(row), head(row), span);
      merge_part(total, total_out, {kept[0], kept[1], false}, kept + kPartHeader, shape.head_dim);
    }
    finish(row, total, total_out);
  }

  void finish(size_t row, const Softmax& total, const float* total_out) const {
    float* out = f32_row(op.out, sequence.first_row + query(row)) + head(row) * shape.head_dim;
    const F32 sum = F32::all(total.sum);
    for (size_t e = 0, n = shape.head_dim; e < n; e += F32::lanes) store(out + e, load(total_out + e, n - e) / sum, n - e);
  }
};

// Causal blocks grow more expensive: taken from both ends in turn, so that any contiguous half of the items is half of the
// work.
size_t block_in_turn(size_t index, size_t n_blocks) { return index % 2 == 0 ? index / 2 : n_blocks - 1 - index / 2; }

}  // namespace

size_t items(const Op& op, const Batch& batch) { return totals_of(op, batch).items; }

size_t scratch_bytes(const Op& op, const Batch& batch) { return Scratch::bytes(Shape(op, batch)); }

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
