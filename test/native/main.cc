// Runs every doctest case of this folder. Where only AMX is missing for the variant amx, it is emulated.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>

#include "amx_emulator.h"
#include "kernel_harness.h"

namespace {

void add_emulated_features() {
  using infernode::test::features;
#if defined(__x86_64__)
  if (features().has("amx-tile")) return;
  if (!features().has("avx512f avx512bw avx512vl avx512dq avx512vnni avx512bf16") || !infernode::test::emulate_amx()) {
    std::fprintf(stderr, "SKIPPED: the kernels of amx. This CPU has neither AMX nor the AVX-512 that its emulation needs.\n");
    return;
  }
  std::fprintf(stderr, "The tiles of amx are emulated: this CPU has none.\n");
  std::vector<std::string> names = features().names();
  for (const char* name : {"amx-tile", "amx-int8", "amx-bf16"}) names.push_back(name);
  features() = infernode::cpu::CpuFeatures(names, features().model);
  infernode::test::before_kernels = [] { infernode::test::emulate_amx(); };  // doctest catches SIGILL too, anew in each case
#endif
}

}  // namespace

int main(int argc, char** argv) {
  add_emulated_features();
  return doctest::Context(argc, argv).run();
}
