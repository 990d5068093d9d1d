// The only file that may name std::thread, std::mutex or std::condition_variable: WebAssembly will replace it.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

#ifndef _WIN32
#include <pthread.h>
#endif

namespace infernode {

using Mutex = std::mutex;
using Lock = std::unique_lock<std::mutex>;
using Condition = std::condition_variable;

// CPUs as the standard library counts them; 0: unknown.
inline unsigned hardware_concurrency() { return std::thread::hardware_concurrency(); }

// A thread whose start may fail, as in a container at its limit of processes: std::thread says so only by an exception,
// which ends a program that is compiled without them.
class StartedThread {
 public:
  // False: the system has no thread for us. `name` is what tools show, at most 15 characters.
  bool start(void (*body)(void*), void* argument, const char* name) {
    body_ = body;
    argument_ = argument;
    name_ = name;
#ifdef _WIN32
    thread_ = std::thread([this] { body_(argument_); });
    return true;
#else
    return pthread_create(&thread_, nullptr, &StartedThread::enter, this) == 0;
#endif
  }
  void join() {
#ifdef _WIN32
    thread_.join();
#else
    pthread_join(thread_, nullptr);
#endif
  }

 private:
#ifdef _WIN32
  std::thread thread_;
#else
  static void* enter(void* self) {
    auto* thread = static_cast<StartedThread*>(self);
#if defined(__APPLE__)
    pthread_setname_np(thread->name_);
#elif defined(__linux__)
    pthread_setname_np(pthread_self(), thread->name_);
#endif
    thread->body_(thread->argument_);
    return nullptr;
  }
  pthread_t thread_{};
#endif
  void (*body_)(void*) = nullptr;
  void* argument_ = nullptr;
  const char* name_ = "";
};

}  // namespace infernode
