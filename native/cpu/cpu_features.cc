// Reads cpuid and xgetbv. Names are those of the compilers' flags, which the isa.cmake files use too.
#include "cpu/cpu_features.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace infernode::cpu {

namespace {

#if defined(__x86_64__)

struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

// All zero for a leaf that the CPU does not have.
Registers cpuid(uint32_t leaf, uint32_t subleaf = 0) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
  return r;
}

// Which registers the operating system saves when it switches threads (Intel SDM vol. 1 §13.3).
uint64_t saved_state() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

// An instruction that the CPU has is of no use while the registers that it needs are not saved.
enum class State { kSse, kAvx, kAvx512, kTiles };
constexpr uint64_t kSavedState[] = {
    0x00,
    0x06,     // xmm, the upper halves of ymm
    0xe6,     // and masks, the upper halves of zmm, zmm16 to zmm31
    0x60000,  // the tiles' configuration and data
};

struct Bit {
  const char* name;
  uint32_t leaf, subleaf;
  uint32_t Registers::* where;
  int bit;
  State state;
};

constexpr Bit kBits[] = {
    {"sse4.2", 1, 0, &Registers::ecx, 20, State::kSse},
    {"popcnt", 1, 0, &Registers::ecx, 23, State::kSse},
    {"avx", 1, 0, &Registers::ecx, 28, State::kAvx},
    {"f16c", 1, 0, &Registers::ecx, 29, State::kAvx},
    {"fma", 1, 0, &Registers::ecx, 12, State::kAvx},
    {"avx2", 7, 0, &Registers::ebx, 5, State::kAvx},
    {"bmi2", 7, 0, &Registers::ebx, 8, State::kSse},
    {"avxvnni", 7, 1, &Registers::eax, 4, State::kAvx},
    {"avx512f", 7, 0, &Registers::ebx, 16, State::kAvx512},
    {"avx512dq", 7, 0, &Registers::ebx, 17, State::kAvx512},
    {"avx512bw", 7, 0, &Registers::ebx, 30, State::kAvx512},
    {"avx512vl", 7, 0, &Registers::ebx, 31, State::kAvx512},
    {"avx512vbmi", 7, 0, &Registers::ecx, 1, State::kAvx512},
    {"avx512vnni", 7, 0, &Registers::ecx, 11, State::kAvx512},
    {"avx512fp16", 7, 0, &Registers::edx, 23, State::kAvx512},
    {"avx512bf16", 7, 1, &Registers::eax, 5, State::kAvx512},
    {"amx-tile", 7, 0, &Registers::edx, 24, State::kTiles},
    {"amx-int8", 7, 0, &Registers::edx, 25, State::kTiles},
    {"amx-bf16", 7, 0, &Registers::edx, 22, State::kTiles},
};

// Tiles are 8 KB more to save per thread, so Linux wants a process to ask for them, once and for all its threads (kernel
// documentation, arch/x86/xstate). It refuses where an alternate signal stack is too small to hold them.
bool may_use_tiles() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  static const bool permitted = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return permitted;
#else
  return false;
#endif
}

std::vector<std::string> detect_names() {
  const bool has_xgetbv = cpuid(1).ecx >> 27 & 1;
  const uint64_t saved = has_xgetbv ? saved_state() : 0;
  std::vector<std::string> names;
  for (const Bit& bit : kBits) {
    const uint64_t needed = kSavedState[static_cast<size_t>(bit.state)];
    if ((saved & needed) != needed || !(cpuid(bit.leaf, bit.subleaf).*bit.where >> bit.bit & 1)) continue;
    if (bit.state != State::kTiles || may_use_tiles()) names.push_back(bit.name);
  }
  return names;
}

std::string detect_model() {
  if (__get_cpuid_max(0x80000000, nullptr) < 0x80000004) return "";
  char text[49] = {};
  for (uint32_t i = 0; i < 3; i++) {
    const Registers r = cpuid(0x80000002 + i);
    std::memcpy(text + 16 * i, &r, 16);
  }
  // Padded with spaces, in front on some CPUs.
  std::string model(text);
  model.erase(0, model.find_first_not_of(' '));
  model.erase(model.find_last_not_of(' ') + 1);
  return model;
}

#elif defined(__aarch64__)

// Part of every 64-bit Arm CPU: neon. The rest is asked of the system (Linux: arch/arm64/include/uapi/asm/hwcap.h).
std::vector<std::string> detect_names() {
  std::vector<std::string> names = {"neon"};
#if defined(__linux__)
  if (getauxval(AT_HWCAP) >> 20 & 1) names.push_back("dotprod");
  if (getauxval(AT_HWCAP2) >> 13 & 1) names.push_back("i8mm");
#elif defined(__APPLE__)
  const auto has = [](const char* name) {
    int value = 0;
    size_t size = sizeof value;
    return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value != 0;
  };
  if (has("hw.optional.arm.FEAT_DotProd")) names.push_back("dotprod");
  if (has("hw.optional.arm.FEAT_I8MM")) names.push_back("i8mm");
#endif
  return names;
}
std::string detect_model() { return ""; }

#else

// Other architectures build the scalar variant alone.
std::vector<std::string> detect_names() { return {}; }
std::string detect_model() { return ""; }

#endif

}  // namespace

CpuFeatures CpuFeatures::detect() { return CpuFeatures(detect_names(), detect_model()); }

std::string CpuFeatures::missing(std::string_view needs) const {
  std::string absent;
  while (!needs.empty()) {
    const size_t end = std::min(needs.find(' '), needs.size());
    const std::string_view name = needs.substr(0, end);
    needs.remove_prefix(std::min(end + 1, needs.size()));
    if (name.empty() || std::find(names_.begin(), names_.end(), name) != names_.end()) continue;
    if (!absent.empty()) absent += ' ';
    absent += name;
  }
  return absent;
}

}  // namespace infernode::cpu
