// What this CPU, and the operating system for it, can do.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace infernode::cpu {

// Features by the names of the compilers' options: "avx2", "fma", "avx512vnni", … A value, so that tests can replay machines.
class CpuFeatures {
 public:
  static CpuFeatures detect();
  explicit CpuFeatures(std::vector<std::string> names, std::string model = "") : model(std::move(model)), names_(std::move(names)) {}

  // `needs`: names separated by spaces.
  bool has(std::string_view needs) const { return missing(needs).empty(); }
  // Those of `needs` that are not there, separated by ", ".
  std::string missing(std::string_view needs) const;
  const std::vector<std::string>& names() const { return names_; }

  std::string model;  // as the CPU calls itself

 private:
  std::vector<std::string> names_;
};

}  // namespace infernode::cpu
