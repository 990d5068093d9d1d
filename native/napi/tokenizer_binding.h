// The tokenizer as JavaScript sees it (NativeTokenizer in src/native.ts).
#pragma once

#include <napi.h>

#include <memory>

#include "tokenizer/tokenizer.h"

namespace infernode {

// createTokenizer(description: string): Promise<NativeTokenizer>
Napi::Value create_tokenizer(const Napi::CallbackInfo& info);
// tokenizerJsonSkeleton(path: string): Promise<string>
Napi::Value tokenizer_json_skeleton_of(const Napi::CallbackInfo& info);

// The tokenizer behind a NativeTokenizer; null for null, and for anything else.
std::shared_ptr<const Tokenizer> tokenizer_of(const Napi::Value& value);

}  // namespace infernode
