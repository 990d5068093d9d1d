// Takes a tensor from one type to another, piece by piece: from memory or a file, to memory or into a file.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "array.h"
#include "cpu/kernels/kernels.h"
#include "file.h"
#include "generated/tensor_types.h"
#include "result.h"
#include "thread_pool.h"
#include "threading.h"

namespace infernode {

// Where bytes come from or go to. Without a path: memory.
struct TensorPlace {
  std::string path;
  uint64_t offset = 0;
};

struct QuantizeRequest {
  std::string name;  // of the tensor, for errors
  TensorType from = TensorType::kF32, to = TensorType::kF32;
  uint64_t n_rows = 0, row_length = 0;  // of values; a row is a whole number of blocks of both types
  uint64_t first_row = 0;               // in the tensor, for errors: who holds a large one may hand it over in parts
  TensorPlace source, target;
  std::shared_ptr<const std::byte> source_bytes;  // where the source is memory
  uint64_t n_source_bytes = 0;
};

struct QuantizeResult {
  Array<std::byte> bytes;  // empty where the target is a file
  double rms = 0;          // of the tensor itself
  double rmse = 0, max_error = 0;
  uint64_t worst_block = 0;  // index among the target's blocks; the first of equals
  double worst_block_rmse = 0;
};

// Memory stays below a few hundred KiB per thread, plus 40 bytes per 32,768 values, plus the target where that is memory.
// The same request gives the same bytes, numbers and error for any number of threads.
class QuantizeJob {
 public:
  // INVALID_ARGUMENT for types that cannot be read or written and for counts that do not fit the blocks or the source.
  static Result<std::shared_ptr<QuantizeJob>> make(QuantizeRequest request);

  // Once. WEIGHT_UNENCODABLE names the first value in the way; FILE_*; OUT_OF_MEMORY; ABORTED after cancel(). What was written to a
  // file by then stays there.
  Result<QuantizeResult> run(ThreadPool& pool, int threads);

  // Any thread, at any time.
  uint64_t values_done() const { return done_.load(std::memory_order_relaxed); }
  void cancel() { cancelled_.store(true, std::memory_order_relaxed); }

 private:
  struct PieceStatistics {
    double squares = 0, squared_errors = 0, max_error = 0, worst_squared_error = 0;
    uint64_t worst_block = 0;
  };
  struct Scratch;

  QuantizeJob(QuantizeRequest request, const cpu::KernelTable& kernels) : request_(std::move(request)), kernels_(&kernels) {}
  void decode(TensorType type, const std::byte* blocks, size_t n, float* out) const;
  Status open();
  Status do_piece(size_t piece, Scratch& scratch);
  Status measure(size_t piece, size_t n, const float* values, const float* stored);
  Error unencodable(uint64_t index, float value) const;
  void fail(size_t piece, Error error);
  QuantizeResult summarize();

  QuantizeRequest request_;
  const cpu::KernelTable* kernels_;
  uint64_t n_values_ = 0;
  std::optional<File> source_, target_;
  Array<std::byte> bytes_;
  Array<PieceStatistics> statistics_;
  std::atomic<bool> cancelled_{false};
  std::atomic<uint64_t> done_{0};

  Mutex mutex_;
  Status status_;                              // of the first piece that failed
  std::atomic<size_t> failed_piece_{SIZE_MAX};  // pieces after it need not be done
};

}  // namespace infernode
