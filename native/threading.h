// The only file that may name std::thread, std::mutex or std::condition_variable: WebAssembly will replace it.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

namespace infernode {

using Mutex = std::mutex;
using Lock = std::unique_lock<std::mutex>;
using Condition = std::condition_variable;
using Thread = std::thread;

}  // namespace infernode
