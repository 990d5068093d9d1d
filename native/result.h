// Errors as values: what every native function that can fail returns. Nothing here throws or aborts.
#pragma once

#include <initializer_list>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "generated/errors.h"

namespace infernode {

// `details` are the arguments of the error's row in src/errors.ts, which words cause and remedy.
struct Error {
  ErrorCode code;
  std::vector<std::string> details;
};

inline Error error(ErrorCode code, std::initializer_list<std::string> details = {}) { return Error{code, details}; }

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}
  explicit operator bool() const { return state_.index() == 0; }
  T& operator*() { return *std::get_if<0>(&state_); }
  const T& operator*() const { return *std::get_if<0>(&state_); }
  T* operator->() { return std::get_if<0>(&state_); }
  const T* operator->() const { return std::get_if<0>(&state_); }
  Error& error() { return *std::get_if<1>(&state_); }
  const Error& error() const { return *std::get_if<1>(&state_); }

 private:
  std::variant<T, Error> state_;
};

// Success, or an error.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Error error) : error_(std::move(error)), ok_(false) {}
  explicit operator bool() const { return ok_; }
  infernode::Error& error() { return error_; }
  const infernode::Error& error() const { return error_; }

 private:
  infernode::Error error_{};
  bool ok_ = true;
};

// Returns the error of an expression that yields a Status or Result from the enclosing function.
#define INFERNODE_TRY(expression)                              \
  do {                                                         \
    if (auto&& try_ = (expression); !try_) return try_.error(); \
  } while (0)

// Declares `name` as the value of a Result, or returns its error from the enclosing function.
#define INFERNODE_ASSIGN(name, expression)  \
  auto name##_result = (expression);        \
  if (!name##_result) return std::move(name##_result.error()); \
  auto& name = *name##_result

}  // namespace infernode
