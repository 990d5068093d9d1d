// Memory that Tensor's operations let go of, kept a while for the next ones: new pages would have to be cleared by the system.
#pragma once

#include <atomic>
#include <vector>

#include "pages.h"
#include "threading.h"

namespace infernode {

// Any thread may call. Between keep() and release() it keeps a few blocks, 64 MB in all; the oldest go first.
class SparePages {
 public:
  static constexpr size_t kMostBytes = size_t{64} << 20, kMostBlocks = 16;

  // The process's.
  static SparePages& shared();

  // Contents arbitrary; a block of this size or up to an eighth more (`Pages::size`). New ones are `large` (pages.h).
  Result<Pages> take(size_t bytes, const char* purpose);
  void give(Pages pages);
  // Somebody will soon ask for what is given from now on …
  void keep() { keeps_.store(true); }
  // … and nobody any longer: all goes back to the system.
  void release();
  size_t bytes();

 private:
  size_t kept_bytes() const;  // under the mutex
  std::atomic<bool> keeps_{false};
  Mutex mutex_;
  std::vector<Pages> blocks_;  // the oldest first
};

}  // namespace infernode
