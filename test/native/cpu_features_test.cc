// CPU features and the choice of kernels, on recorded machines and this one.
#include "cpu/cpu_features.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "cpu/dispatch.h"

using infernode::ErrorCode;
using namespace infernode::cpu;

TEST_CASE("missing features are named, in the order asked for") {
  const CpuFeatures cpu({"avx2", "fma"});
  CHECK(cpu.has(""));
  CHECK(cpu.has("avx2 fma"));
  CHECK(cpu.has(" fma  avx2 "));
  CHECK(!cpu.has("avx2 f16c"));
  CHECK(cpu.missing("f16c avx2 avx512f") == "f16c avx512f");
  CHECK(!cpu.has("avx"));  // whole names only
}

TEST_CASE("a CPU without features gets the scalar kernels") {
  const auto kernels = choose_kernels(CpuFeatures(), "");
  REQUIRE(kernels);
  CHECK(std::string((*kernels)->isa) == "scalar");
  CHECK(available_isas(CpuFeatures()) == std::vector<std::string>{"scalar"});
}

TEST_CASE("an unknown variant is refused with the names of those that exist") {
  const auto kernels = choose_kernels(CpuFeatures::detect(), "mmx");
  REQUIRE(!kernels);
  CHECK(kernels.error().code == ErrorCode::kIsaUnknown);
  REQUIRE(kernels.error().details.size() == 2);
  CHECK(kernels.error().details[0] == "mmx");
  for (const std::string& isa : all_isas()) CHECK(kernels.error().details[1].find(isa) != std::string::npos);
}

TEST_CASE("every variant that this CPU can run can be forced, and the best is chosen") {
  const CpuFeatures cpu = CpuFeatures::detect();
  const auto isas = available_isas(cpu);
  REQUIRE(!isas.empty());
  for (const std::string& isa : isas) {
    const auto kernels = choose_kernels(cpu, isa);
    REQUIRE(kernels);
    CHECK((*kernels)->isa == isa);
  }
  const auto best = choose_kernels(cpu, "");
  REQUIRE(best);
  CHECK((*best)->isa == isas.front());
  CHECK(isas.back() == "scalar");
}

#if defined(__x86_64__)
TEST_CASE("a forced variant that the CPU cannot run is refused with what is missing") {
  const auto kernels = choose_kernels(CpuFeatures({"avx2", "f16c"}), "avx2");
  REQUIRE(!kernels);
  CHECK(kernels.error().code == ErrorCode::kIsaUnsupported);
  CHECK(kernels.error().details == std::vector<std::string>{"avx2", "fma"});
}

TEST_CASE("tiles are used where the system permits them, and AVX-512 where it does not") {
  std::vector<std::string> names = {"avx2", "fma", "f16c", "avxvnni", "avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512vnni", "avx512bf16"};
  const auto best = [&] { return std::string((*choose_kernels(CpuFeatures(names), ""))->isa); };
  if (all_isas().front() != "amx") return;  // a build of fewer variants
  CHECK(best() == "avx512_bf16");
  names.insert(names.end(), {"amx-tile", "amx-int8", "amx-bf16"});
  CHECK(best() == "amx");
}

TEST_CASE("the compiler's own test of this CPU agrees") {
  const CpuFeatures cpu = CpuFeatures::detect();
  CHECK(cpu.has("avx2") == static_cast<bool>(__builtin_cpu_supports("avx2")));
  CHECK(cpu.has("fma") == static_cast<bool>(__builtin_cpu_supports("fma")));
  CHECK(cpu.has("avx512f") == static_cast<bool>(__builtin_cpu_supports("avx512f")));
  CHECK(cpu.has("avx512bw") == static_cast<bool>(__builtin_cpu_supports("avx512bw")));
  CHECK(cpu.has("avx512vnni") == static_cast<bool>(__builtin_cpu_supports("avx512vnni")));
  CHECK(cpu.has("avx512bf16") == static_cast<bool>(__builtin_cpu_supports("avx512bf16")));
}
#endif
