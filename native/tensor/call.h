// An op by name, as JavaScript calls it: the one list of what Tensor can do.
#pragma once

#include <string>
#include <vector>

#include "tensor/ops.h"

namespace infernode::tensor {

// Absent operands have no storage. What the attributes mean is said beside each op in call.cc.
struct Call {
  std::string op;
  std::vector<View> operands;
  std::vector<double> attributes;
};

// Adds the op to the job: the views of its results. kInternal where operands or attributes do not fit.
Result<std::vector<View>> add_call(const Maker& make, const Call& call);

}  // namespace infernode::tensor
