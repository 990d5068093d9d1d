// Tensors for JavaScript.
#pragma once

#include <napi.h>

namespace infernode {

// createTensors(isa): NativeTensors (src/native.ts).
Napi::Value create_tensors(const Napi::CallbackInfo& info);

}  // namespace infernode
