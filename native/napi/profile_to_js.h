// Profiles for JavaScript.
#pragma once

#include <napi.h>

#include "profile.h"

namespace infernode {

// NativeProfile in src/native.ts.
Napi::Value to_js(Napi::Env env, const Profile& profile);

}  // namespace infernode
