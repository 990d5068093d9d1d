// What the addon keeps per isolate (the main thread and every worker): its share of the runtime, and a way back to its thread.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <vector>

#include "engine.h"
#include "quantizer.h"
#include "runtime.h"
#include "threading.h"

namespace infernode {

// Takes closures from any thread to one isolate's JavaScript thread. Outlives the isolate: what arrives later is dropped.
class Mailbox : public std::enable_shared_from_this<Mailbox> {
 public:
  using Letter = std::function<void(Napi::Env)>;

  explicit Mailbox(Napi::Env env);
  // Any thread.
  void post(Letter letter);
  // JavaScript thread: while answers are expected the process stays alive.
  void expect_answer(Napi::Env env);
  void got_answer(Napi::Env env);
  // JavaScript thread, when the isolate ends.
  void close();

 private:
  static void deliver(napi_env env, napi_value, void* context, void*);

  napi_threadsafe_function function_ = nullptr;
  std::shared_ptr<Mailbox>* self_ = nullptr;  // what the thread-safe function holds
  size_t expected_ = 0;
  Mutex mutex_;
  std::vector<Letter> letters_;
  bool closed_ = false;
};

// Lets native threads use memory that belongs to the isolate, until it ends.
class Gate {
 public:
  // Any thread. False: the isolate is ending; its memory is not to be touched.
  bool enter();
  void leave();
  // JavaScript thread: returns when nobody is inside, and nobody will be.
  void close();

 private:
  Mutex mutex_;
  Condition empty_;
  size_t inside_ = 0;
  bool closed_ = false;
};

class Environment {
 public:
  explicit Environment(Napi::Env env);
  static Environment& of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

  const std::shared_ptr<Mailbox>& mailbox() const { return mailbox_; }
  const std::shared_ptr<Gate>& gate() const { return gate_; }
  // Starts the runtime if this is the first call of the process.
  Result<std::shared_ptr<Runtime>> runtime();
  // Closed, cancelled when the isolate ends, if not before.
  void own(const std::shared_ptr<Engine>& engine);
  void own(const std::shared_ptr<QuantizeJob>& job);
  void end();

 private:
  std::shared_ptr<Mailbox> mailbox_;
  std::shared_ptr<Gate> gate_ = std::make_shared<Gate>();
  std::shared_ptr<Runtime> runtime_;
  std::vector<std::weak_ptr<Engine>> engines_;
  std::vector<std::weak_ptr<QuantizeJob>> jobs_;
};

}  // namespace infernode
