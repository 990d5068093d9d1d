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

  MappingRegistry& mappings() { return mappings_; }
  const std::shared_ptr<Signal>& signal() const { return signal_; }
  // How many threads a model uses unless it asks for a number, and why.
  int default_threads() const { return default_threads_; }

 private:
  Runtime() = default;
  void drive();
  void grow_pool(int threads);

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
  bool stop_ = false;

  std::unique_ptr<Service> loading_, requests_, conversion_;
  bool driving_ = false;
  StartedThread driver_;
};

}  // namespace infernode
