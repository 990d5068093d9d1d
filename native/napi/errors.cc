// Native errors as JavaScript sees them.
#include "napi/promise.h"

namespace infernode {

Napi::Value to_js(Napi::Env env, const Error& error) {
  const char* code = kErrorNames[static_cast<size_t>(error.code)];
  Napi::Object object = Napi::Error::New(env, code).Value();
  object.Set("infernodeCode", code);
  Napi::Array details = Napi::Array::New(env, error.details.size());
  for (uint32_t i = 0; i < error.details.size(); i++) details.Set(i, error.details[i]);
  object.Set("details", details);
  return object;
}

Napi::Value throw_error(const Napi::CallbackInfo& info, const Error& error) {
  napi_throw(info.Env(), to_js(info.Env(), error));
  return info.Env().Undefined();
}

Napi::Value rejected(Napi::Env env, const Error& error) {
  const Deferred deferred(env);
  if (deferred.resolver) napi_reject_deferred(env, deferred.resolver, to_js(env, error));
  return Napi::Value(env, deferred.promise);
}

}  // namespace infernode
