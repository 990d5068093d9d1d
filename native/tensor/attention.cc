// Attention. Causal, with or without a window: the models' kernel, over keys and values laid out as a KV cache has them. With a
// mask, or over all keys: scores and sums by the models' `linear`, a block of queries of one head at a time.
#include <algorithm>

#include "cpu/kv_layout.h"
#include "tensor/kernel_phase.h"

namespace infernode::tensor {

namespace {

using Linear = ops::Linear<cpu::Rows, cpu::Weight>;

struct Sizes {
  size_t batch, queries, heads, head_dim, keys, kv_heads;
};

// What the causal kernel reads beside its op: one sequence per entry of the batch, each with pages of its own.
struct Paged {
  std::vector<int32_t> pages;
  std::vector<const int32_t*> tables;
  std::vector<cpu::KvSequence> writes, reads;
  uint32_t zero = 0;
  View q, k, v, out;
  std::shared_ptr<Storage> pool;
};

Status add_causal(const Maker& make, const Sizes& n, const View& q, const View& k, const View& v,
                  const std::vector<size_t>& lengths, const AttentionOptions& options, const View& out) {
  auto paged = std::make_shared<Paged>();
  const size_t pages = (n.keys + cpu::kPagePositions - 1) / cpu::kPagePositions;
  cpu::KvCacheView cache;
  cache.type = k.type == v.type ? k.type : TensorType::kF32;
  cache.n_kv_heads = n.kv_heads;
  cache.head_dim = n.head_dim;
  cache.slot_bytes = cache.page_bytes = cpu::slot_bytes(cache.type, n.kv_heads, n.head_dim);
  size_t bytes;
  if (__builtin_mul_overflow(cache.page_bytes, pages * n.batch, &bytes) || pages * n.batch > INT32_MAX)
    return error(ErrorCode::kOutOfMemory, {"a tensor", "more than addressable"});
  INFERNODE_ASSIGN(pool, Storage::make(bytes, Storage::Contents::kZeros));
  INFERNODE_ASSIGN(keys, as_contiguous(make, k, TensorType::kF32));
  INFERNODE_ASSIGN(values, as_contiguous(make, v, TensorType::kF32));
  paged->pool = pool;
  paged->q = q;
  paged->k = keys;
  paged->v = values;
  paged->out = out;
  cache.pool = pool->data();
  cache.layer_group = cache.layer_slot = &paged->zero;
  paged->pages.resize(pages * n.batch);
  for (size_t i = 0; i < paged->pages.size(); i++) paged->pages[i] = static_cast<int32_t>(i);
  paged->tables.resize(n.batch);
  for (size_t b = 0; b < n.batch; b++) {
    paged->tables[b] = paged->pages.data() + b * pages;
    paged->writes.push_back({b * n.keys, lengths[b], 0, &paged->tables[b]});
    paged->reads.push_back({b * n.queries, n.queries, lengths[b] - n.queries, &paged->tables[b]});
  }
  cpu::Batch batch;
  batch.cache = cache;
  batch.n_sequences = n.batch;
  batch.sequences = paged->writes.data();
  batch.n_tokens = n.batch * n.keys;
  ops::KvWrite<cpu::Rows, cpu::Weight> write{};
  write.k = rows_of(keys, n.kv_heads * n.head_dim);
  write.v = rows_of(values, n.kv_heads * n.head_dim);
  INFERNODE_TRY(add_kernel(make, make.kernels.kv_write, write, batch, paged));
  batch.sequences = paged->reads.data();
  batch.n_tokens = n.batch * n.queries;
  ops::Attention<cpu::Rows, cpu::Weight> attend{};
  attend.q = rows_of(q, n.heads * n.head_dim);
  attend.out = rows_of(out, n.heads * n.head_dim);
  attend.head_dim = static_cast<uint32_t>(n.head_dim);
  attend.scale = options.scale;
  attend.window = static_cast<uint32_t>(std::min<size_t>(options.window, UINT32_MAX));
  attend.softcap = options.softcap;
  return add_kernel(make, make.kernels.attention, attend, batch, paged);
}

// A block of queries of one head against all keys.
struct Masked {
  const Maker make;
  Sizes n;
  View q, k, turned_v, mask, out;  // turned_v: [B, K, E, S]
  std::vector<size_t> lengths;
  AttentionOptions options;
  size_t scratch_of_linear;

  static constexpr size_t kQueries = 32;

  size_t blocks() const { return (n.queries + kQueries - 1) / kQueries; }
  size_t row_floats() const { return (n.keys + 15) / 16 * 16; }
  // Scores, one row of the mask, and linear's own.
  size_t scratch_bytes() const { return (kQueries + 1) * row_floats() * sizeof(float) + scratch_of_linear; }

  void multiply(const cpu::Rows& x, const cpu::Weight& weight, const cpu::Rows& to, std::byte* scratch) const {
    Linear op{};
    op.x.n = op.weight.n = op.out.n = 1;
    op.x[0] = x;
    op.weight[0] = weight;
    op.out[0] = to;
    make.kernels.linear.run(op, {}, {0, (weight.rows + 31) / 32}, scratch);
  }

  void run(size_t item, std::byte* scratch) const {
    const size_t block = item % blocks(), head = item / blocks() % n.heads, b = item / blocks() / n.heads;
    const size_t kv_head = head / (n.heads / n.kv_heads), first = block * kQueries,
                 count = std::min(kQueries, n.queries - first);
    const size_t length = lengths[b], stride = row_floats() * sizeof(float);
    float* scores = reinterpret_cast<float*>(scratch);
    float* masks = scores + kQueries * row_floats();
    std::byte* rest = reinterpret_cast<std::byte*>(masks + row_floats());
    const size_t q_row = n.heads * n.head_dim * sizeof(float), k_row = n.kv_heads * n.head_dim * sizeof(float);
    const size_t at = (b * n.queries + first) * q_row + head * n.head_dim * sizeof(float);
    const cpu::Rows weights{scratch, stride, count, length, TensorType::kF32};
    std::byte* result = out.data() + at;
    if (length == 0) {
      for (size_t i = 0; i < count; i++) std::memset(result + i * q_row, 0, n.head_dim * sizeof(float));
      return;
    }
    multiply(
        {q.data() + at, q_row, count, n.head_dim, TensorType::kF32},
        {k.data() + b * n.keys * k_row + kv_head * n.head_dim * sizeof(float), length, n.head_dim, k_row, TensorType::kF32, 0},
        weights, rest);
    for (size_t i = 0; i < count; i++) weigh(scores + i * row_floats(), masks, b, head, first + i);
    multiply(weights,
             {turned_v.data() + (b * n.kv_heads + kv_head) * n.head_dim * n.keys * sizeof(float), n.head_dim, length,
              n.keys * sizeof(float), TensorType::kF32, 0},
             {result, q_row, count, n.head_dim, TensorType::kF32}, rest);
  }

  // Scores to weights, in place. A query that sees nothing gets weights of 0.
  void weigh(float* scores, float* masks, size_t b, size_t head, size_t query) const {
    const cpu::TensorKernels& runs = make.runs();
    const size_t length = lengths[b];
    constexpr float kHidden = -__builtin_inff();
    runs.binary(cpu::Binary::kMul, {scores, false}, {&options.scale, true}, scores, length);
    if (options.softcap > 0) {
      runs.binary(cpu::Binary::kDiv, {scores, false}, {&options.softcap, true}, scores, length);
      runs.unary(cpu::Unary::kTanh, scores, scores, length);
      runs.binary(cpu::Binary::kMul, {scores, false}, {&options.softcap, true}, scores, length);
    }
    if (mask.storage) {
      const size_t offset = mask.offset + b * mask.strides[0] + head * mask.strides[1] + query * mask.strides[2];
      const std::byte* from = mask.storage->data() + offset * info(mask.type).block_bytes;
      runs.load(mask.type, from, static_cast<ptrdiff_t>(mask.strides[3]), length, masks);
      if (mask.type == TensorType::kBool)
        for (size_t j = 0; j < length; j++) masks[j] = masks[j] != 0 ? 0 : kHidden;
      runs.binary(cpu::Binary::kAdd, {scores, false}, {masks, false}, scores, length);
    }
    if (options.causal || options.window > 0) {
      const size_t position = query + length - n.queries;  // the last query is at the last key
      if (options.causal) std::fill(scores + std::min(length, position + 1), scores + length, kHidden);
      if (options.window > 0 && position + 1 > options.window)
        std::fill_n(scores, std::min(length, position + 1 - options.window), kHidden);
      if (!options.causal && options.window > 0)
        std::fill(scores + std::min(length, position + options.window), scores + length, kHidden);
    }
    if (runs.largest(scores, length).value == kHidden)
      std::fill_n(scores, length, 0.0f);
    else
      runs.softmax(scores, scores, length);
  }
};

}  // namespace

Result<View> attention(const Maker& make, const View& q, const View& k, const View& v, const AttentionOptions& options) {
  const auto not_fitting = error(ErrorCode::kInternal, {"operands that do not fit"});
  if (q.rank != 4 || k.rank != 4 || v.rank != 4 || !is_float(q.type) || !is_float(k.type) || !is_float(v.type))
    return not_fitting;
  const Sizes n{q.shape[0], q.shape[1], q.shape[2], q.shape[3], k.shape[1], k.shape[2]};
  for (size_t d = 0; d < 4; d++)
    if (k.shape[d] != v.shape[d]) return not_fitting;
  if (k.shape[0] != n.batch || k.shape[3] != n.head_dim || n.kv_heads == 0 || n.heads % n.kv_heads != 0 || n.head_dim == 0 ||
      n.head_dim > 65536)
    return not_fitting;
  std::vector<size_t> lengths = options.lengths.empty() ? std::vector<size_t>(n.batch, n.keys) : options.lengths;
  if (lengths.size() != n.batch) return not_fitting;
  for (size_t length : lengths)
    if (length > n.keys || ((options.causal || options.window > 0) && length < n.queries)) return not_fitting;
  if (options.mask.storage) {
    const size_t expected[] = {n.batch, n.heads, n.queries, n.keys};
    if (options.mask.rank != 4 || !std::equal(expected, expected + 4, options.mask.shape)) return not_fitting;
  }
  INFERNODE_ASSIGN(out, make_view(TensorType::kF32, q.shape, 4));
  double pairs = 0;
  for (size_t length : lengths) pairs += static_cast<double>(n.queries) * static_cast<double>(length);
  make.job->costs(q.size() + k.size() + v.size() + out.size(), 2 * pairs * static_cast<double>(n.heads * n.head_dim));
  if (out.size() == 0) return out;
  INFERNODE_ASSIGN(queries, as_contiguous(make, q, TensorType::kF32));
  if (options.causal && !options.mask.storage) {
    INFERNODE_TRY(add_causal(make, n, queries, k, v, lengths, options, out));
    return out;
  }
  INFERNODE_ASSIGN(keys, as_contiguous(make, k, TensorType::kF32));
  INFERNODE_ASSIGN(turned, convert(make, swapped(swapped(v, 1, 2), 2, 3), TensorType::kF32));  // [B, K, E, S]
  Linear largest{};
  largest.out.n = 1;
  largest.out[0].n = Masked::kQueries;
  auto masked = std::make_shared<Masked>(Masked{{make.kernels, nullptr},
                                                n,
                                                queries,
                                                keys,
                                                turned,
                                                options.mask,
                                                out,
                                                lengths,
                                                options,
                                                make.kernels.linear.scratch_bytes(largest, {})});
  masked->options.mask = {};
  make.job->add(
      {n.batch * n.heads * masked->blocks(), masked->scratch_bytes(), [masked](size_t begin, size_t end, std::byte* scratch) {
         for (size_t item = begin; item < end; item++) masked->run(item, scratch);
       }});
  return out;
}

}  // namespace infernode::tensor
