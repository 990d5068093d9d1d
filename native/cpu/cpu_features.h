// Which instruction sets the CPU has and the operating system lets us use.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace infernode::cpu {

// Features by the names of the compilers' options: "avx2", "fma", "avx512vnni", … A value, so that tests can replay machines.
class CpuFeatures {
 public:
  static CpuFeatures detect();
  explicit CpuFeatures(std::vector<std::string> names = {}, std::string model = "") : model(std::move(model)), names_(std::move(names)) {}

  // `needs` are names separated by spaces, as in the isa.cmake files: "avx2 fma f16c".
  bool has(std::string_view needs) const { return missing(needs).empty(); }
  // Those of `needs` that are absent, separated by spaces.
  std::string missing(std::string_view needs) const;
  const std::vector<std::string>& names() const { return names_; }

  std::string model;  // the CPU's own name, or ""

 private:
  std::vector<std::string> names_;
};

}  // namespace infernode::cpu
