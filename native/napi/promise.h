// Promises that native threads settle, and native errors as JavaScript sees them.
#pragma once

#include <napi.h>

#include <cstring>
#include <functional>
#include <memory>
#include <utility>

#include "napi/environment.h"
#include "result.h"

namespace infernode {

// An Error with the code and the arguments of its row; src/native.ts makes an InfernodeError of it.
Napi::Value to_js(Napi::Env env, const Error& error);

// Throws it and returns undefined, for synchronous calls.
Napi::Value throw_error(const Napi::CallbackInfo& info, const Error& error);

// A promise and its resolver. Both are null where the isolate is being terminated (Napi's own class leaves them undefined).
struct Deferred {
  explicit Deferred(Napi::Env env) { napi_create_promise(env, &resolver, &promise); }
  napi_deferred resolver = nullptr;
  napi_value promise = nullptr;  // valid in the scope that made it
};

// A promise that another thread settles by settle(). Created and settled on the JavaScript thread.
template <class T>
class Pending {
 public:
  // Makes the JavaScript value, on the JavaScript thread.
  using Convert = std::function<Napi::Value(Napi::Env, T&)>;

  Pending(Napi::Env env, Convert convert)
      : state_(std::make_shared<State>(env, std::move(convert), Environment::of(env).mailbox())) {
    state_->mailbox->expect_answer(env);
  }
  // For the call that made it to return.
  Napi::Value promise() const { return Napi::Value(state_->env, state_->deferred.promise); }

  // Any thread, once.
  void settle(Result<T> result) const {
    auto shared = std::make_shared<Result<T>>(std::move(result));
    state_->mailbox->post([state = state_, shared](Napi::Env env) {
      state->mailbox->got_answer(env);
      if (!state->deferred.resolver) return;
      if (*shared) napi_resolve_deferred(env, state->deferred.resolver, state->convert(env, **shared));
      else napi_reject_deferred(env, state->deferred.resolver, to_js(env, shared->error()));
    });
  }

 private:
  struct State {
    State(Napi::Env e, Convert c, std::shared_ptr<Mailbox> m)
        : env(e), deferred(e), convert(std::move(c)), mailbox(std::move(m)) {}
    Napi::Env env;
    Deferred deferred;
    Convert convert;
    std::shared_ptr<Mailbox> mailbox;
  };
  std::shared_ptr<State> state_;
};

// A copy as Array, one of Napi's typed arrays; undefined where the isolate is being terminated.
template <class Array, class T>
Napi::Value copy_to_js(Napi::Env env, const T* from, size_t n) {
  Array array = Array::New(env, n);
  if (array.IsEmpty()) return env.Undefined();
  if (n) std::memcpy(array.Data(), from, n * sizeof(T));
  return array;
}

// A promise that is rejected already.
Napi::Value rejected(Napi::Env env, const Error& error);

}  // namespace infernode
