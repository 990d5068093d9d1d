// Quantizing as JavaScript sees it (NativeQuantizeRequest and what follows it in src/native.ts).
#pragma once

#include <napi.h>

namespace infernode {

// encodableTypes(): string[], in the order of the table
Napi::Value encodable_types(const Napi::CallbackInfo& info);

// quantizeTensor(request: NativeQuantizeRequest): NativeQuantizeJob
Napi::Value quantize_tensor(const Napi::CallbackInfo& info);

}  // namespace infernode
