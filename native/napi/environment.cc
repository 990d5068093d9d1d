// Per-isolate state, and the passage from native threads to JavaScript.
#include "napi/environment.h"

#include <chrono>

namespace infernode {

namespace {

// A backlog (the event loop was busy) is handed over in pieces, so that it does not hold the loop in turn.
constexpr std::chrono::milliseconds kLongestDelivery{2};

// False in an isolate that is being terminated: Node empties its event loop once more then, but nothing can be called.
bool can_run_javascript(napi_env env) {
  napi_value global;
  bool has;
  return napi_get_global(env, &global) == napi_ok && napi_has_named_property(env, global, "undefined", &has) == napi_ok;
}

}  // namespace

Mailbox::Mailbox(Napi::Env env) {
  napi_value name;
  napi_create_string_utf8(env, "infernode", NAPI_AUTO_LENGTH, &name);
  self_ = new std::shared_ptr<Mailbox>;
  napi_create_threadsafe_function(
      env, nullptr, nullptr, name, 0, 1, self_, [](napi_env, void* self, void*) { delete static_cast<std::shared_ptr<Mailbox>*>(self); },
      self_, &Mailbox::deliver, &function_);
  napi_unref_threadsafe_function(env, function_);
}

void Mailbox::post(Letter letter) {
  Lock lock(mutex_);
  if (closed_) return;
  if (!*self_) *self_ = shared_from_this();
  letters_.push_back(std::move(letter));
  if (letters_.size() == 1) napi_call_threadsafe_function(function_, nullptr, napi_tsfn_nonblocking);
}

void Mailbox::deliver(napi_env env, napi_value, void* context, void*) {
  if (!env) return;
  const std::shared_ptr<Mailbox> self = *static_cast<std::shared_ptr<Mailbox>*>(context);
  if (!can_run_javascript(env)) return self->close();
  std::vector<Letter> letters;
  {
    Lock lock(self->mutex_);
    letters.swap(self->letters_);
  }
  const auto begin = std::chrono::steady_clock::now();
  for (size_t i = 0; i < letters.size(); i++) {
    if (i > 0 && std::chrono::steady_clock::now() - begin > kLongestDelivery) {
      Lock lock(self->mutex_);
      if (self->closed_) return;
      const bool empty = self->letters_.empty();
      self->letters_.insert(self->letters_.begin(), std::make_move_iterator(letters.begin() + static_cast<std::ptrdiff_t>(i)),
                            std::make_move_iterator(letters.end()));
      if (empty) napi_call_threadsafe_function(self->function_, nullptr, napi_tsfn_nonblocking);
      return;
    }
    Napi::HandleScope scope(env);
    letters[i](Napi::Env(env));
    // A callback that throws is the program's bug, to be seen as an uncaught exception, not to be swallowed.
    bool pending = false;
    napi_is_exception_pending(env, &pending);
    if (pending) {
      napi_value exception = nullptr;
      napi_get_and_clear_last_exception(env, &exception);
      napi_fatal_exception(env, exception);
    }
  }
}

void Mailbox::expect_answer(Napi::Env env) {
  if (expected_++ == 0) napi_ref_threadsafe_function(env, function_);
}

void Mailbox::got_answer(Napi::Env env) {
  if (--expected_ == 0) napi_unref_threadsafe_function(env, function_);
}

void Mailbox::close() {
  std::vector<Letter> letters;  // dropped outside the lock: what they hold may have more to say
  Lock lock(mutex_);
  closed_ = true;
  letters.swap(letters_);
  lock.unlock();
}

bool Gate::enter() {
  Lock lock(mutex_);
  if (!closed_) inside_++;
  return !closed_;
}

void Gate::leave() {
  Lock lock(mutex_);
  if (--inside_ == 0) empty_.notify_all();
}

void Gate::close() {
  Lock lock(mutex_);
  closed_ = true;
  empty_.wait(lock, [&] { return inside_ == 0; });
}

Environment::Environment(Napi::Env env) : mailbox_(std::make_shared<Mailbox>(env)) {
  // Hooks run in reverse: this one before the thread-safe function's own.
  env.AddCleanupHook([this] { end(); });
}

Result<std::shared_ptr<Runtime>> Environment::runtime() {
  if (!runtime_) {
    INFERNODE_ASSIGN(runtime, Runtime::acquire());
    runtime_ = runtime;
  }
  return runtime_;
}

void Environment::own(const std::shared_ptr<Engine>& engine) {
  std::erase_if(engines_, [](const std::weak_ptr<Engine>& e) { return e.expired(); });
  engines_.push_back(engine);
}

void Environment::own(const std::shared_ptr<QuantizeJob>& job) {
  std::erase_if(jobs_, [](const std::weak_ptr<QuantizeJob>& j) { return j.expired(); });
  jobs_.push_back(job);
}

void Environment::end() {
  mailbox_->close();
  gate_->close();
  for (const auto& engine : engines_)
    if (auto alive = engine.lock()) alive->close();
  engines_.clear();
  for (const auto& job : jobs_)
    if (auto alive = job.lock()) alive->cancel();
  jobs_.clear();
  runtime_.reset();
}

}  // namespace infernode
