// Reads the arguments of a call. The TypeScript layer explains mistakes; here the first one becomes an error instead of a crash.
#pragma once

#include <napi.h>

#include <cmath>
#include <string>
#include <vector>

#include "result.h"

namespace infernode {

// Longest text that crosses at once, in UTF-8 bytes.
inline constexpr size_t kMaxTextBytes = size_t{256} << 20;

class Arguments {
 public:
  Status status;

  // A property of an options object.
  Napi::Value get(const Napi::Value& object, const char* name) {
    if (!object.IsObject()) {
      fail(name, "an options object", "something else");
      return object.Env().Undefined();
    }
    return object.As<Napi::Object>().Get(name);
  }
  double number(const Napi::Value& value, const char* name) {
    if (value.IsNumber()) return value.As<Napi::Number>().DoubleValue();
    fail(name, "a number", "something else");
    return 0;
  }
  double number(const Napi::Value& object, const char* name, double low, double high) {
    return within(number(get(object, name), name), name, low, high);
  }
  int64_t whole_value(const Napi::Value& value, const char* name, double low, double high) {
    const double x = within(number(value, name), name, low, high);
    if (x != std::floor(x)) fail(name, "a whole number", std::to_string(x));
    return static_cast<int64_t>(x);
  }
  int64_t whole(const Napi::Value& object, const char* name, double low, double high) {
    return whole_value(get(object, name), name, low, high);
  }
  bool boolean(const Napi::Value& object, const char* name) {
    const Napi::Value value = get(object, name);
    if (!value.IsBoolean()) fail(name, "a boolean", "something else");
    return value.IsBoolean() && value.As<Napi::Boolean>().Value();
  }
  // Lone surrogates become U+FFFD.
  std::string text(const Napi::Value& value, const char* name) {
    if (!value.IsString()) {
      fail(name, "a string", "something else");
      return {};
    }
    size_t bytes = 0;
    napi_get_value_string_utf8(value.Env(), value, nullptr, 0, &bytes);
    if (bytes > kMaxTextBytes) {
      fail(name, "at most 256 MiB of text", std::to_string(bytes) + " bytes");
      return {};
    }
    return value.As<Napi::String>().Utf8Value();
  }
  std::string text(const Napi::Value& object, const char* name, int) { return text(get(object, name), name); }
  // `limit`: most elements.
  std::vector<int32_t> ids(const Napi::Value& value, const char* name, size_t limit) {
    if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array) {
      fail(name, "an Int32Array", "something else");
      return {};
    }
    const auto array = value.As<Napi::Int32Array>();
    const size_t n = array.ElementLength();
    if (n > limit) {
      fail(name, "at most " + std::to_string(limit) + " tokens", std::to_string(n));
      return {};
    }
    return n ? std::vector<int32_t>(array.Data(), array.Data() + n) : std::vector<int32_t>();
  }

 private:
  double within(double x, const char* name, double low, double high) {
    if (x >= low && x <= high) return x;
    fail(name, "a number in range", std::to_string(x));
    return low;
  }
  void fail(const std::string& name, const std::string& expected, const std::string& received) {
    if (status) status = error(ErrorCode::kInvalidArgument, {name, expected, received});
  }
};

}  // namespace infernode
