// One per process, shared by all isolates: the compute threads, the driver that steps the engines, and a thread for slow chores.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine.h"
#include "mapping.h"
#include "thread_pool.h"
#include "threading.h"

namespace infernode {

// A thread that does chores in order.
class Service {
 public:
  // Fails with kOutOfMemory if the system grants no more threads.
  static Result<std::unique_ptr<Service>> make(const char* name);
  ~Service();  // ends after the running chore; the others are dropped
  void add(std::function<void()> chore);

 private:
  Service() = default;
  void serve();
  Mutex mutex_;
  Condition condition_;
  std::deque<std::function<void()>> chores_;
  bool stop_ = false;
  bool started_ = false;
  StartedThread thread_;
};

// Work of any length that the driver does a slice at a time, between the engines' steps.
class SlicedWork {
 public:
  virtual ~SlicedWork() = default;
  // Waits for other work; step() would be too early.
  virtual bool waits() = 0;
  // Does a slice of some milliseconds. False: it is done.
  virtual bool step(ThreadPool& pool) = 0;
  // It will never be done: the runtime ends. Lets go of what it holds.
  virtual void drop() = 0;
};

class Runtime {
 public:
  // The process's runtime, started at the first call; it ends when the last owner lets go. JavaScript threads own it.
  static Result<std::shared_ptr<Runtime>> acquire();
  ~Runtime();

  // What must hold neither the event loop nor the driver: reading and loading files; and, apart, so that it does not wait for
  // them, tokenizing and preparing requests.
  Service& loading() { return *loading_; }
  Service& requests() { return *requests_; }
  // A thread for what takes minutes (quantizing a checkpoint), so that neither waits for it; started at the first call.
  Result<Service*> conversion();
  // Runs `task` on the driver thread between steps, with at least `threads` compute threads in the pool.
  void on_driver(int threads, std::function<void(ThreadPool&)> task);
  // The driver steps it from now on, until it closes.
  void add(std::shared_ptr<Engine> engine);
  // Takes turns with what else there is, until it is done. Dropped if the runtime ends before.
  void add(std::shared_ptr<SlicedWork> work);

  MappingRegistry& mappings() { return mappings_; }
  const std::shared_ptr<Signal>& signal() const { return signal_; }
  // How many threads a model uses unless it asks for a number, and why.
  int default_threads() const { return default_threads_; }

 private:
  Runtime() = default;
  void drive();
  void grow_pool(int threads);
  bool do_slices();

  struct Task {
    int threads;
    std::function<void(ThreadPool&)> run;
  };

  int default_threads_ = 1;
  std::shared_ptr<Signal> signal_ = std::make_shared<Signal>();
  MappingRegistry mappings_;
  std::unique_ptr<ThreadPool> pool_;  // the driver's

  Mutex mutex_;
  std::vector<std::shared_ptr<Engine>> arrived_;
  std::vector<std::shared_ptr<Engine>> engines_;  // written by the driver under the mutex
  std::vector<Task> tasks_;
  std::vector<std::shared_ptr<SlicedWork>> arrived_work_;
  std::deque<std::shared_ptr<SlicedWork>> work_;  // the driver's
  bool stop_ = false;

  std::unique_ptr<Service> loading_, requests_, conversion_;
  bool driving_ = false;
  StartedThread driver_;
};

}  // namespace infernode
