// The decoder of plans: any text is refused with a code, or is a plan whose steps were all checked.
#include "fuzz.h"
#include "plan.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  (void)infernode::decode_plan({reinterpret_cast<const char*>(data), size});
  return 0;
}
