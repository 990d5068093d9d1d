// The process's threads and who does what on them.
#include "runtime.h"

#include <chrono>

#include "machine.h"
#include "spare_pages.h"

namespace infernode {

namespace {

// Never destroyed: threads of a runtime that outlives main() would otherwise meet dead statics.
struct Process {
  Mutex mutex;
  std::weak_ptr<Runtime> runtime;
};
Process& process() {
  static Process* instance = new Process;
  return *instance;
}

// What slices of other work may take between two rounds of the engines' steps: so much later a token may come.
constexpr std::chrono::milliseconds kTurn{8};
// So long after the last slice its memory is kept for the next one.
constexpr std::chrono::seconds kSpareTime{1};

Error no_thread(const char* name) { return error(ErrorCode::kOutOfMemory, {std::string("the thread ") + name, "The"}); }

}  // namespace

Result<std::unique_ptr<Service>> Service::make(const char* name) {
  std::unique_ptr<Service> self(new Service);
  self->started_ = self->thread_.start([](void* service) { static_cast<Service*>(service)->serve(); }, self.get(), name);
  if (!self->started_) return no_thread(name);
  return self;
}

Service::~Service() {
  if (!started_) return;
  {
    Lock lock(mutex_);
    stop_ = true;
  }
  condition_.notify_all();
  thread_.join();
}

void Service::add(std::function<void()> chore) {
  {
    Lock lock(mutex_);
    chores_.push_back(std::move(chore));
  }
  condition_.notify_all();
}

void Service::serve() {
  for (;;) {
    std::function<void()> chore;
    {
      Lock lock(mutex_);
      condition_.wait(lock, [&] { return stop_ || !chores_.empty(); });
      if (stop_) return;
      chore = std::move(chores_.front());
      chores_.pop_front();
    }
    chore();
  }
}

Result<std::shared_ptr<Runtime>> Runtime::acquire() {
  Lock lock(process().mutex);
  if (auto runtime = process().runtime.lock()) return runtime;
  std::shared_ptr<Runtime> runtime(new Runtime);
  runtime->default_threads_ = choose_threads(0).threads;
  INFERNODE_ASSIGN(pool, ThreadPool::make(runtime->default_threads_));
  runtime->pool_ = std::move(pool);
  INFERNODE_ASSIGN(loading, Service::make("inf-loading"));
  INFERNODE_ASSIGN(requests, Service::make("inf-requests"));
  runtime->loading_ = std::move(loading);
  runtime->requests_ = std::move(requests);
  runtime->driving_ =
      runtime->driver_.start([](void* self) { static_cast<Runtime*>(self)->drive(); }, runtime.get(), "inf-driver");
  if (!runtime->driving_) return no_thread("inf-driver");
  process().runtime = runtime;
  return runtime;
}

Runtime::~Runtime() {
  // First what may still add engines and requests. Chores left over belong to isolates that are gone: only they let go of it.
  loading_.reset();
  requests_.reset();
  conversion_.reset();
  {
    Lock lock(mutex_);
    stop_ = true;
    for (auto& engine : engines_) engine->close();
    for (auto& engine : arrived_) engine->close();
  }
  signal_->ring();
  if (driving_) driver_.join();
  for (auto& work : work_) work->drop();
  for (auto& work : arrived_work_) work->drop();
}

Result<Service*> Runtime::conversion() {
  Lock lock(mutex_);
  if (!conversion_) {
    INFERNODE_ASSIGN(conversion, Service::make("inf-conversion"));
    conversion_ = std::move(conversion);
  }
  return conversion_.get();
}

void Runtime::on_driver(int threads, std::function<void(ThreadPool&)> task) {
  {
    Lock lock(mutex_);
    tasks_.push_back({threads, std::move(task)});
  }
  signal_->ring();
}

void Runtime::add(std::shared_ptr<Engine> engine) {
  {
    Lock lock(mutex_);
    arrived_.push_back(std::move(engine));
  }
  signal_->ring();
}

void Runtime::add(std::shared_ptr<SlicedWork> work) {
  {
    Lock lock(mutex_);
    arrived_work_.push_back(std::move(work));
  }
  signal_->ring();
}

// A turn: slices of what waits longest, until a step's time is used up. True: there is more to do.
bool Runtime::do_slices() {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + kTurn;
  for (size_t idle = 0; idle < work_.size() && Clock::now() < end;) {
    std::shared_ptr<SlicedWork> work = std::move(work_.front());
    work_.pop_front();
    if (work->waits()) {
      work_.push_back(std::move(work));
      idle++;
      continue;
    }
    idle = 0;
    if (work->step(*pool_)) work_.push_back(std::move(work));
  }
  return !work_.empty();
}

// More threads than the machine has cores are a caller's explicit wish; if they cannot be had, the pool stays as it is.
void Runtime::grow_pool(int threads) {
  if (threads <= pool_->size()) return;
  if (auto larger = ThreadPool::make(threads)) pool_ = std::move(*larger);
}

void Runtime::drive() {
  set_float_environment();
  using Clock = std::chrono::steady_clock;
  bool spare = false;  // pages may be kept, until then:
  Clock::time_point spare_until;
  uint64_t seen = 0;
  for (bool busy = false;;) {
    if (!busy) seen = spare ? signal_->wait(seen, spare_until) : signal_->wait(seen);
    std::vector<std::shared_ptr<Engine>> engines;
    std::vector<Task> tasks;
    bool stop;
    {
      Lock lock(mutex_);
      for (auto& engine : arrived_) engines_.push_back(std::move(engine));
      arrived_.clear();
      tasks.swap(tasks_);
      for (auto& work : arrived_work_) work_.push_back(std::move(work));
      arrived_work_.clear();
      engines = engines_;
      stop = stop_;
    }
    for (Task& task : tasks) {
      grow_pool(task.threads);
      task.run(*pool_);
    }
    busy = false;
    for (auto& engine : engines) {
      if (engine->closing()) {
        engine->finish_closing();
        Lock lock(mutex_);
        std::erase(engines_, engine);
        continue;
      }
      grow_pool(engine->most_threads());
      busy |= engine->step(*pool_);
    }
    if (!work_.empty()) {
      SparePages::shared().keep();
      busy |= do_slices();
      spare = true;
      spare_until = Clock::now() + kSpareTime;
    }
    if (spare && (stop || Clock::now() >= spare_until)) {
      SparePages::shared().release();
      spare = false;
    }
    if (stop) return;
  }
}

}  // namespace infernode
