// Which ISA variant's kernels a machine gets.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cpu/cpu_features.h"
#include "cpu/kernels/kernels.h"
#include "result.h"

namespace infernode::cpu {

// The best variant that `cpu` can run, or `forced` if it is not empty. kIsaUnknown, kIsaUnsupported.
Result<const KernelTable*> choose_kernels(const CpuFeatures& cpu, std::string_view forced);

// Names of all variants of this build, and of those that `cpu` can run; best first.
std::vector<std::string> all_isas();
std::vector<std::string> available_isas(const CpuFeatures& cpu);

}  // namespace infernode::cpu
