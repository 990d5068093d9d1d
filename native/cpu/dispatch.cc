// The table of ISA variants that were built, and the choice among them.
#include "cpu/dispatch.h"

#define ISA(name, needs)                 \
  namespace infernode::cpu::name {       \
  extern const KernelTable kernels;      \
  }
#include "generated/isas.def"
#undef ISA

namespace infernode::cpu {

namespace {

struct Isa {
  const char* name;
  const char* needs;  // CPU features
  const KernelTable* kernels;
};

// Best first. CMake writes isas.def from the folders of native/cpu/isa; the last, scalar, needs nothing.
constexpr Isa kIsas[] = {
#define ISA(name, needs) {#name, needs, &name::kernels},
#include "generated/isas.def"
#undef ISA
};

std::string list(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace

// Called once, when the cpu backend opens. Kernels never test CPU features themselves.
// `cpu` is an argument so that tests can replay recorded machines.
Result<const KernelTable*> choose_kernels(const CpuFeatures& cpu, std::string_view forced) {
  for (const Isa& isa : kIsas) {
    if (!forced.empty() && forced != isa.name) continue;
    if (cpu.has(isa.needs)) return isa.kernels;
    if (!forced.empty()) return error(ErrorCode::kIsaUnsupported, {std::string(forced), cpu.missing(isa.needs)});
  }
  return error(ErrorCode::kIsaUnknown, {std::string(forced), list(all_isas())});
}

std::vector<std::string> all_isas() {
  std::vector<std::string> names;
  for (const Isa& isa : kIsas) names.push_back(isa.name);
  return names;
}

std::vector<std::string> available_isas(const CpuFeatures& cpu) {
  std::vector<std::string> names;
  for (const Isa& isa : kIsas)
    if (cpu.has(isa.needs)) names.push_back(isa.name);
  return names;
}

}  // namespace infernode::cpu
