// Mixtures of experts: a router's choice for each token, and the products of the chosen experts only.
//
// Every kernel sorts the tokens by expert itself, from the router's choice: that is a few integers per token, beside rows of
// weights, and no op has to believe what another one left in memory. What is computed for a token does not depend on the others:
// products have the contract of linear, and a token's experts are added in ascending number.
#include "cpu/kernels/activation_functions.h"
#include "cpu/kernels/kernels_of_isa.h"
#include "cpu/kernels/product.h"
#include "cpu/kernels/rows.h"
#include "quant/activations.h"
#include "simd.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

// ---- the router's choice

// Larger first, and of equals the lower number. NaN comes before everything, so that it is chosen and shows in the result.
bool precedes(const float* x, size_t a, size_t b) {
  const bool a_nan = x[a] != x[a], b_nan = x[b] != x[b];
  if (a_nan != b_nan) return a_nan;
  if (!a_nan && x[a] != x[b]) return x[a] > x[b];
  return a < b;
}

// The first one of n that comes after `last` (n: the very first).
size_t next_best(const float* x, size_t n, size_t last) {
  size_t best = n;
  for (size_t i = 0; i < n; i++)
    if ((last == n || precedes(x, last, i)) && (best == n || precedes(x, i, best))) best = i;
  return best;
}

float exp_of(float x) { return first_lane(exp(F32::all(x))); }

// ---- tokens by expert

// A slot is a token's r-th expert: token · active + r.
struct Slots {
  size_t n_experts, active, n;
  uint32_t* begin;   // [n_experts + 1] first of an expert's slots in `sorted`
  uint32_t* sorted;  // [n] slots by expert, then ascending

  size_t count(size_t expert) const { return begin[expert + 1] - begin[expert]; }
  size_t token(size_t i) const { return sorted[i] / active; }
  size_t rank(size_t i) const { return sorted[i] % active; }
};

INFERNODE_INLINE size_t active_of(const Rows& routing) { return routing.width / 2; }

size_t slots_bytes(const Rows& routing, size_t n_experts) {
  return round_up((n_experts + 1 + 2 * routing.n * active_of(routing)) * sizeof(uint32_t), 64);
}

// Experts that are none have no slot. Each number is read once: another thread may be writing there if a plan is damaged.
Slots sort_slots(const Rows& routing, size_t n_experts, std::byte* memory) {
  Slots slots;
  slots.n_experts = n_experts;
  slots.active = active_of(routing);
  slots.n = routing.n * slots.active;
  slots.begin = reinterpret_cast<uint32_t*>(memory);
  slots.sorted = slots.begin + n_experts + 1;
  uint32_t* expert_of = slots.sorted + slots.n;
  for (size_t e = 0; e <= n_experts; e++) slots.begin[e] = 0;
  for (size_t t = 0; t < routing.n; t++)
    for (size_t r = 0; r < slots.active; r++) {
      const float number = f32_row(routing, t)[r];
      const bool valid = number >= 0 && number < static_cast<float>(n_experts);  // false for NaN
      const uint32_t expert = valid ? static_cast<uint32_t>(number) : static_cast<uint32_t>(n_experts);
      expert_of[t * slots.active + r] = expert;
      if (valid) slots.begin[expert]++;
    }
  uint32_t end = 0;
  for (size_t e = 0; e <= n_experts; e++) {  // counts become ends, and then starts while slots are dealt from the last
    end += e < n_experts ? slots.begin[e] : 0;
    slots.begin[e] = end;
  }
  for (size_t slot = slots.n; slot-- > 0;)
    if (expert_of[slot] < n_experts) slots.sorted[--slots.begin[expert_of[slot]]] = static_cast<uint32_t>(slot);
  return slots;
}

// ---- an expert's input

constexpr size_t kChunk = 128;  // slots that are multiplied together: more would only grow the scratch

// Bytes of n columns of a row, n a multiple of the type's block.
INFERNODE_INLINE size_t column_bytes(TensorType type, size_t n) {
  switch (type) {
    case TensorType::kA8_32: return a8_32_row_bytes(n);
    case TensorType::kA8_256: return a8_256_row_bytes(n);
    default: return n * sizeof(float);
  }
}
INFERNODE_INLINE size_t row_bytes_of(TensorType type, size_t n) { return round_up(column_bytes(type, n), 64); }

// Columns [first, first + n) of a row, as a row of their own; both are multiples of the type's block.
void copy_columns(const Rows& x, size_t row, size_t first, size_t n, std::byte* out) {
  __builtin_memcpy(out, x.data + row * x.stride + column_bytes(x.type, first), column_bytes(x.type, n));
}

// Slots [first, first + n) of an expert: rows of x if all columns are its input, else the columns of the slot's rank.
Rows gather(const Rows& x, const Slots& slots, size_t first, size_t n, size_t width, std::byte* memory) {
  const bool whole = x.width == width;
  Rows out = {memory, row_bytes_of(x.type, width), n, width, x.type};
  // Often all tokens of a step, or the only one, chose the expert: their rows can be read in place.
  bool in_place = whole;
  for (size_t i = 1; i < n; i++) in_place &= slots.token(first + i) == slots.token(first) + i;
  if (in_place) {
    out.data = x.data + slots.token(first) * x.stride;
    out.stride = x.stride;
    return out;
  }
  for (size_t i = 0; i < n; i++)
    copy_columns(x, slots.token(first + i), whole ? 0 : slots.rank(first + i) * width, width, memory + i * out.stride);
  return out;
}

template <class List>
const Rows& input_for(const List& x, const Weight& weight) {
  for (const Rows& rows : x)
    if (rows.type == weight.activations) return rows;
  return x.items[0];  // a plan in which it is missing is refused before it runs
}

Weight expert_of(const Weight& weights, size_t expert) {
  Weight weight = weights;
  weight.data = weights.experts[expert].data;
  weight.readable_after = weights.experts[expert].readable_after;
  return weight;
}

INFERNODE_INLINE size_t blocks_of(const Weight& weight) { return (weight.rows + kItemRows - 1) / kItemRows; }
INFERNODE_INLINE size_t chunk_of(const Rows& routing) { return smaller(kChunk, routing.n * active_of(routing)); }
INFERNODE_INLINE size_t sums_bytes(const Rows& routing) { return chunk_of(routing) * kItemRows * sizeof(float); }

// Calls f(first slot, how many) for an expert's slots, a chunk at a time.
template <class F>
INFERNODE_INLINE void for_chunks(const Slots& slots, size_t expert, F&& f) {
  for (size_t first = slots.begin[expert]; first < slots.begin[expert + 1]; first += kChunk)
    f(first, smaller(kChunk, slots.begin[expert + 1] - first));
}

}  // namespace

// ---- route

size_t items(const ops::Route<Rows, Weight>& op, const Batch&) { return op.x.n; }
void run(const ops::Route<Rows, Weight>& op, const Batch&, Range items, std::byte*) {
  const size_t n = op.x.width, active = op.active;
  for (size_t t = items.begin; t < items.end; t++) {
    const float* x = f32_row(op.x, t);
    float *numbers = f32_row(op.out, t), *weights = numbers + active;
    size_t last = n;
    float largest = 0, sum = 0;
    for (size_t r = 0; r < active; r++) {
      last = next_best(x, n, last);
      if (r == 0) largest = x[last];
      numbers[r] = static_cast<float>(last);
      weights[r] = exp_of(x[last] - largest);
      sum += weights[r];
    }
    if (op.gating == ops::Gating::kSoftmax) {
      F32 partial[kSumVectors];
      for (F32& p : partial) p = F32::zero();
      for (size_t i = 0; i < n; i += F32::lanes) {
        F32& p = partial[i / F32::lanes % kSumVectors];
        p = p + select(first_lanes(n - i), exp(load(x + i, n - i) - F32::all(largest)), F32::zero());
      }
      sum = fold_sum(partial);
    }
    for (size_t r = 0; r < active; r++) weights[r] = weights[r] / sum;
  }
}

// ---- expertsSwiglu: an item is 32 rows of one expert's gate and up, for the tokens that chose it

size_t items(const ops::ExpertsSwiglu<Rows, Weight>& op, const Batch&) {
  // So many experts are chosen at most; items of those that are not there do nothing.
  return smaller(op.gate.n_experts, op.routing.n * active_of(op.routing)) * blocks_of(op.gate);
}

size_t scratch_bytes(const ops::ExpertsSwiglu<Rows, Weight>& op, const Batch&) {
  const size_t inputs = row_bytes_of(input_for(op.x, op.gate).type, op.gate.cols) +
                        row_bytes_of(input_for(op.x, op.up).type, op.gate.cols);
  return panel_bytes() + slots_bytes(op.routing, op.gate.n_experts) + 2 * sums_bytes(op.routing) + chunk_of(op.routing) * inputs;
}

void run(const ops::ExpertsSwiglu<Rows, Weight>& op, const Batch&, Range items, std::byte* scratch) {
  std::byte* panel = scratch;
  const Slots slots = sort_slots(op.routing, op.gate.n_experts, scratch + panel_bytes());
  float* gate_sums = reinterpret_cast<float*>(scratch + panel_bytes() + slots_bytes(op.routing, op.gate.n_experts));
  float* up_sums = gate_sums + sums_bytes(op.routing) / sizeof(float);
  std::byte* gathered = reinterpret_cast<std::byte*>(up_sums) + sums_bytes(op.routing);
  const Rows &gate_input = input_for(op.x, op.gate), &up_input = input_for(op.x, op.up);
  std::byte* gathered_up = gathered + chunk_of(op.routing) * row_bytes_of(gate_input.type, op.gate.cols);

  const size_t per_expert = blocks_of(op.gate);
  size_t first_item = 0;
  for (size_t e = 0; e < slots.n_experts && first_item < items.end; e++) {
    if (slots.count(e) == 0) continue;
    const size_t begin = larger(items.begin, first_item), end = smaller(items.end, first_item + per_expert);
    if (begin < end) {
      const Weight gate = expert_of(op.gate, e), up = expert_of(op.up, e);
      for_chunks(slots, e, [&](size_t first, size_t n) {
        const Rows x = gather(gate_input, slots, first, n, gate.cols, gathered);
        const Rows other = gate_input.type == up_input.type ? x : gather(up_input, slots, first, n, gate.cols, gathered_up);
        for (size_t item = begin; item < end; item++) {
          const size_t row = (item - first_item) * kItemRows, n_rows = smaller(kItemRows, gate.rows - row);
          multiply_rows(gate, row, n_rows, x, gate_sums, panel);
          multiply_rows(up, row, n_rows, other, up_sums, panel);
          for (size_t i = 0; i < n; i++) {
            float* out = f32_row(op.out, slots.token(first + i)) + slots.rank(first + i) * gate.rows + row;
            for (size_t r = 0; r < n_rows; r += F32::lanes)
              store(out + r, silu(load(gate_sums + i * kItemRows + r)) * load(up_sums + i * kItemRows + r), n_rows - r);
          }
        }
      });
    }
    first_item += per_expert;
  }
}

// ---- expertsSum: an item is 32 columns of the result, of all experts

size_t items(const ops::ExpertsSum<Rows, Weight>& op, const Batch&) { return op.out.n == 0 ? 0 : blocks_of(op.down); }

size_t scratch_bytes(const ops::ExpertsSum<Rows, Weight>& op, const Batch&) {
  return panel_bytes() + slots_bytes(op.routing, op.down.n_experts) + sums_bytes(op.routing) +
         chunk_of(op.routing) * row_bytes_of(input_for(op.x, op.down).type, op.down.cols);
}

void run(const ops::ExpertsSum<Rows, Weight>& op, const Batch&, Range items, std::byte* scratch) {
  std::byte* panel = scratch;
  const Slots slots = sort_slots(op.routing, op.down.n_experts, scratch + panel_bytes());
  float* sums = reinterpret_cast<float*>(scratch + panel_bytes() + slots_bytes(op.routing, op.down.n_experts));
  std::byte* gathered = reinterpret_cast<std::byte*>(sums) + sums_bytes(op.routing);
  const Rows& input = input_for(op.x, op.down);

  const size_t first_column = items.begin * kItemRows, end_column = smaller(items.end * kItemRows, op.down.rows);
  for (size_t t = 0; t < op.out.n; t++)
    for (size_t c = first_column; c < end_column; c += F32::lanes) store(f32_row(op.out, t) + c, F32::zero(), end_column - c);
  for (size_t e = 0; e < slots.n_experts; e++) {
    if (slots.count(e) == 0) continue;
    const Weight down = expert_of(op.down, e);
    for_chunks(slots, e, [&](size_t first, size_t n) {
      const Rows x = gather(input, slots, first, n, down.cols, gathered);
      for (size_t row = first_column; row < end_column; row += kItemRows) {
        const size_t n_rows = smaller(kItemRows, end_column - row);
        multiply_rows(down, row, n_rows, x, sums, panel);
        for (size_t i = 0; i < n; i++) {
          const size_t t = slots.token(first + i);
          const F32 weight = F32::all(f32_row(op.routing, t)[slots.active + slots.rank(first + i)]);
          float* out = f32_row(op.out, t) + row;
          for (size_t r = 0; r < n_rows; r += F32::lanes)
            store(out + r, fma(weight, load(sums + i * kItemRows + r), load(out + r, n_rows - r)), n_rows - r);
        }
      }
    });
  }
}

}  // namespace infernode::cpu::INFERNODE_ISA
