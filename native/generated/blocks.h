// Written by scripts/generate.mjs from src/tensor-types.ts. Do not edit.
#pragma once

#include "quant/bf16.h"
#include "quant/f16.h"
#include "quant/f32.h"
#include "quant/iq1_m.h"
#include "quant/iq1_s.h"
#include "quant/iq2_s.h"
#include "quant/iq2_xs.h"
#include "quant/iq2_xxs.h"
#include "quant/iq3_s.h"
#include "quant/iq3_xxs.h"
#include "quant/iq4_nl.h"
#include "quant/iq4_xs.h"
#include "quant/mxfp4.h"
#include "quant/nvfp4.h"
#include "quant/q2_k.h"
#include "quant/q3_k.h"
#include "quant/q4_0.h"
#include "quant/q4_1.h"
#include "quant/q4_k.h"
#include "quant/q5_0.h"
#include "quant/q5_1.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"
#include "quant/q8_0.h"
#include "quant/tq1_0.h"
#include "quant/tq2_0.h"

// X(enumerator of TensorType, struct in namespace quant): every type that weights have.
#define INFERNODE_BLOCKS(X) \
  X(kF32, F32) \
  X(kF16, F16) \
  X(kBf16, Bf16) \
  X(kQ4_0, Q4_0) \
  X(kQ4_1, Q4_1) \
  X(kQ5_0, Q5_0) \
  X(kQ5_1, Q5_1) \
  X(kQ8_0, Q8_0) \
  X(kQ2_K, Q2_K) \
  X(kQ3_K, Q3_K) \
  X(kQ4_K, Q4_K) \
  X(kQ5_K, Q5_K) \
  X(kQ6_K, Q6_K) \
  X(kIq4_Nl, Iq4_Nl) \
  X(kIq4_Xs, Iq4_Xs) \
  X(kMxfp4, Mxfp4) \
  X(kNvfp4, Nvfp4) \
  X(kIq1_S, Iq1_S) \
  X(kIq1_M, Iq1_M) \
  X(kIq2_Xxs, Iq2_Xxs) \
  X(kIq2_Xs, Iq2_Xs) \
  X(kIq2_S, Iq2_S) \
  X(kIq3_Xxs, Iq3_Xxs) \
  X(kIq3_S, Iq3_S) \
  X(kTq1_0, Tq1_0) \
  X(kTq2_0, Tq2_0)
