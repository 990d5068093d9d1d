// Engines as JavaScript sees them (NativeEngine in src/native.ts).
#pragma once

#include <napi.h>

namespace infernode {

// createEngine(plan: string, tokenizer: NativeTokenizer | null, options: NativeEngineOptions): Promise<NativeEngine>
Napi::Value create_engine(const Napi::CallbackInfo& info);

}  // namespace infernode
