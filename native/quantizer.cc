// Pieces of a tensor, shared out among threads; every piece reads, converts, measures and writes for itself.
#include "quantizer.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "cpu/dispatch.h"
#include "quant/block_types.h"

namespace infernode {

namespace {

// Values per piece: whole blocks of every type, and all of a piece's memory fits a core's own cache.
constexpr size_t kPieceValues = 32768;

Status mistake(const char* name, std::string expected, std::string received) {
  return error(ErrorCode::kInvalidArgument, {name, std::move(expected), std::move(received)});
}

// Fixed-order sums that the compiler can keep in vector lanes.
double sum_of_squares(const float* x, size_t n) {
  double lanes[4] = {};
  size_t i = 0;
  for (; i + 4 <= n; i += 4)
    for (size_t lane = 0; lane < 4; lane++) lanes[lane] += static_cast<double>(x[i + lane]) * static_cast<double>(x[i + lane]);
  for (; i < n; i++) lanes[0] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
}

struct BlockError {
  double squares, largest;
};

BlockError error_of(const float* values, const float* stored, size_t n) {
  double lanes[4] = {}, largest[4] = {};
  const auto add = [&](size_t i, size_t lane) {
    const double e = static_cast<double>(stored[i]) - static_cast<double>(values[i]);
    lanes[lane] += e * e;
    largest[lane] = std::max(largest[lane], std::fabs(e));
  };
  size_t i = 0;
  for (; i + 4 <= n; i += 4)
    for (size_t lane = 0; lane < 4; lane++) add(i + lane, lane);
  for (; i < n; i++) add(i, 0);
  return {(lanes[0] + lanes[1]) + (lanes[2] + lanes[3]), std::max(std::max(largest[0], largest[1]), std::max(largest[2], largest[3]))};
}

// The first that is NaN or infinite; n if none is.
size_t first_not_finite(const float* x, size_t n) {
  bool all = true;
  for (size_t i = 0; i < n; i++) all &= std::fabs(x[i]) <= 0x1.fffffep127f;
  return all ? n : static_cast<size_t>(std::find_if_not(x, x + n, [](float v) { return std::isfinite(v); }) - x);
}

}  // namespace

// What one thread needs.
struct QuantizeJob::Scratch {
  Array<std::byte> read, written;
  Array<float> values, stored;

  static Result<Scratch> make(TensorType from, TensorType to) {
    Scratch scratch;
    INFERNODE_ASSIGN(read, Array<std::byte>::make(row_bytes(from, kPieceValues), "quantizing"));
    INFERNODE_ASSIGN(written, Array<std::byte>::make(row_bytes(to, kPieceValues), "quantizing"));
    INFERNODE_ASSIGN(values, Array<float>::make(kPieceValues, "quantizing"));
    INFERNODE_ASSIGN(stored, Array<float>::make(kPieceValues, "quantizing"));
    scratch.read = std::move(read);
    scratch.written = std::move(written);
    scratch.values = std::move(values);
    scratch.stored = std::move(stored);
    return scratch;
  }
};

Result<std::shared_ptr<QuantizeJob>> QuantizeJob::make(QuantizeRequest request) {
  INFERNODE_ASSIGN(kernels, cpu::choose_kernels(cpu::CpuFeatures::detect(), ""));
  std::shared_ptr<QuantizeJob> job(new QuantizeJob(std::move(request), *kernels));
  const QuantizeRequest& r = job->request_;
  const TensorTypeInfo &from = info(r.from), &to = info(r.to);
  if (!quant::can_decode(r.from)) INFERNODE_TRY(mistake("sourceType", "a type that weights have", from.name));
  if (!quant::can_encode(r.to)) INFERNODE_TRY(mistake("targetType", "a type that can be encoded", to.name));
  for (const TensorTypeInfo* type : {&from, &to})
    if (r.row_length % type->block_values != 0)
      INFERNODE_TRY(mistake("rowLength", "a multiple of " + std::to_string(type->block_values) + " for " + type->name,
                            std::to_string(r.row_length)));
  constexpr uint64_t kMostValues = uint64_t{1} << 48;  // so that nothing below overflows
  if (r.row_length > 0 && r.n_rows > kMostValues / r.row_length)
    INFERNODE_TRY(mistake("nRows", "at most 2^48 values", std::to_string(r.n_rows) + " rows of " + std::to_string(r.row_length)));
  job->n_values_ = r.n_rows * r.row_length;
  if (const uint64_t bytes = row_bytes(r.from, job->n_values_); r.source.path.empty() && r.n_source_bytes != bytes)
    INFERNODE_TRY(mistake("source", std::to_string(bytes) + " bytes", std::to_string(r.n_source_bytes)));
  return job;
}

void QuantizeJob::decode(TensorType type, const std::byte* blocks, size_t n, float* out) const {
  cpu::Weight row;
  row.data = blocks;
  row.rows = 1;
  row.cols = n;
  row.row_bytes = row_bytes(type, n);
  row.type = type;
  kernels_->dequantize(row, 0, out);
}

Status QuantizeJob::open() {
  const QuantizeRequest& r = request_;
  if (!r.source.path.empty()) {
    INFERNODE_ASSIGN(file, File::open_to_read(r.source.path));
    INFERNODE_ASSIGN(size, file.size());
    const uint64_t bytes = row_bytes(r.from, n_values_);
    if (r.source.offset > size || bytes > size - r.source.offset)
      return error(ErrorCode::kFileCorrupt, {r.source.path, r.name, "ends past the end of the file"});
    source_.emplace(std::move(file));
  }
  if (!r.target.path.empty()) {
    INFERNODE_ASSIGN(file, File::open_to_write(r.target.path));
    target_.emplace(std::move(file));
  } else {
    INFERNODE_ASSIGN(bytes, Array<std::byte>::make(row_bytes(r.to, n_values_), "the quantized tensor"));
    bytes_ = std::move(bytes);
  }
  INFERNODE_ASSIGN(statistics, Array<PieceStatistics>::make((n_values_ + kPieceValues - 1) / kPieceValues, "quantizing"));
  statistics_ = std::move(statistics);
  return {};
}

Result<QuantizeResult> QuantizeJob::run(ThreadPool& pool, int threads) {
  set_float_environment();
  INFERNODE_TRY(open());
  const ThreadPool::Section pieces{statistics_.size(), 1};
  threads = std::clamp(threads, 1, pool.size());
  struct Work {
    QuantizeJob& job;
    std::vector<Scratch> scratches;  // one per thread
  } work{*this, {}};
  for (int i = 0; i < threads; i++) {
    INFERNODE_ASSIGN(scratch, Scratch::make(request_.from, request_.to));
    work.scratches.push_back(std::move(scratch));
  }
  pool.run(
      threads, &pieces, 1,
      [](void* context, size_t, size_t begin, size_t end, int thread) {
        Work& w = *static_cast<Work*>(context);
        QuantizeJob& job = w.job;
        for (size_t piece = begin; piece < end; piece++) {
          // Pieces before a failed one are done nevertheless: the error is always that of the first.
          if (job.cancelled_.load(std::memory_order_relaxed) || piece > job.failed_piece_.load(std::memory_order_relaxed)) return;
          Status status = job.do_piece(piece, w.scratches[static_cast<size_t>(thread)]);
          if (!status) job.fail(piece, std::move(status.error()));
        }
      },
      &work);
  if (cancelled_.load(std::memory_order_relaxed)) return error(ErrorCode::kAborted, {"Quantizing tensor \"" + request_.name + "\""});
  if (!status_) return status_.error();
  return summarize();
}

Status QuantizeJob::do_piece(size_t piece, Scratch& scratch) {
  const QuantizeRequest& r = request_;
  const uint64_t first = piece * kPieceValues;
  const size_t n = static_cast<size_t>(std::min<uint64_t>(kPieceValues, n_values_ - first));
  const size_t n_read = row_bytes(r.from, n), n_written = row_bytes(r.to, n);
  const uint64_t read_at = row_bytes(r.from, first), write_at = row_bytes(r.to, first);

  const std::byte* source = scratch.read.data();
  if (source_) INFERNODE_TRY(source_->read_at(r.source.offset + read_at, scratch.read.data(), n_read));
  else source = r.source_bytes.get() + read_at;
  decode(r.from, source, n, scratch.values.data());

  std::byte* target = target_ ? scratch.written.data() : bytes_.data() + write_at;
  const float* values = scratch.values.data();
  if (r.from == r.to) {
    std::copy(source, source + n_read, target);
    INFERNODE_TRY(measure(piece, n, values, values));
  } else {
    // Floats keep what is not finite; a block would lose all its other values to it.
    if (info(r.to).block_values > 1)
      if (const size_t bad = first_not_finite(values, n); bad < n) return unencodable(first + bad, values[bad]);
    kernels_->encode(r.to, values, n, target);
    decode(r.to, target, n, scratch.stored.data());
    INFERNODE_TRY(measure(piece, n, values, scratch.stored.data()));
  }
  if (target_) INFERNODE_TRY(target_->write_at(r.target.offset + write_at, target, n_written));
  done_.fetch_add(n, std::memory_order_relaxed);
  return {};
}

// Errors of one piece. A finite value that did not stay finite was too large for the type.
Status QuantizeJob::measure(size_t piece, size_t n, const float* values, const float* stored) {
  PieceStatistics& statistics = statistics_[piece];
  const uint64_t first = piece * kPieceValues;
  const size_t block_values = info(request_.to).block_values;
  for (size_t i = 0; i < n; i += block_values) {
    const BlockError e = error_of(values + i, stored + i, block_values);
    if (!std::isfinite(e.squares)) {
      // The largest is to blame: a scale that overflows takes all values of its block along.
      size_t largest = i;
      for (size_t j = i; j < i + block_values; j++)
        if (std::fabs(values[j]) > std::fabs(values[largest])) largest = j;
      if (std::isfinite(values[largest])) return unencodable(first + largest, values[largest]);
      continue;  // NaN or infinity, kept by a float type
    }
    statistics.squares += sum_of_squares(values + i, block_values);
    statistics.squared_errors += e.squares;
    statistics.max_error = std::max(statistics.max_error, e.largest);
    if (e.squares > statistics.worst_squared_error) {
      statistics.worst_squared_error = e.squares;
      statistics.worst_block = (first + i) / block_values;
    }
  }
  return {};
}

Error QuantizeJob::unencodable(uint64_t index, float value) const {
  char text[32];
  std::snprintf(text, sizeof text, "%g", static_cast<double>(value));
  return error(ErrorCode::kWeightUnencodable, {request_.name, std::to_string(request_.first_row + index / request_.row_length),
                                               std::to_string(index % request_.row_length), text, info(request_.to).name});
}

void QuantizeJob::fail(size_t piece, Error error) {
  Lock lock(mutex_);
  if (piece >= failed_piece_.load(std::memory_order_relaxed)) return;
  failed_piece_.store(piece, std::memory_order_relaxed);
  status_ = std::move(error);
}

QuantizeResult QuantizeJob::summarize() {
  PieceStatistics all;
  for (const PieceStatistics& piece : statistics_) {
    all.squares += piece.squares;
    all.squared_errors += piece.squared_errors;
    all.max_error = std::max(all.max_error, piece.max_error);
    if (piece.worst_squared_error > all.worst_squared_error) {
      all.worst_squared_error = piece.worst_squared_error;
      all.worst_block = piece.worst_block;
    }
  }
  const double n = n_values_ > 0 ? static_cast<double>(n_values_) : 1;
  QuantizeResult result;
  result.bytes = std::move(bytes_);
  result.rms = std::sqrt(all.squares / n);
  result.rmse = std::sqrt(all.squared_errors / n);
  result.max_error = all.max_error;
  result.worst_block = all.worst_block;
  result.worst_block_rmse = std::sqrt(all.worst_squared_error / info(request_.to).block_values);
  return result;
}

}  // namespace infernode
