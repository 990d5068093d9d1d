// Written by scripts/generate.mjs from src/graph/ops.ts. Do not edit.
// One struct per op. A plan holds them over (ValueId, WeightId), a kernel gets them over (Rows, Weight): see native/plan.h.
#pragma once

#include <cstdint>

namespace infernode::ops {

// Several operands of one role: the weights of a grouped linear, for example.
template <class T>
struct List {
  static constexpr uint32_t kCapacity = 4;
  T items[kCapacity];
  uint32_t n = 0;
  T* begin() { return items; }
  T* end() { return items + n; }
  const T* begin() const { return items; }
  const T* end() const { return items + n; }
  T& operator[](uint32_t i) { return items[i]; }
  const T& operator[](uint32_t i) const { return items[i]; }
};

enum class Epilogue : uint8_t { kNone, kAdd, kSwiglu, kGeglu };
inline constexpr const char* kEpilogueNames[] = {"none", "add", "swiglu", "geglu"};

enum class Pairing : uint8_t { kHalf, kInterleaved };
inline constexpr const char* kPairingNames[] = {"half", "interleaved"};

enum class Gating : uint8_t { kSoftmax, kSoftmaxOfChosen };
inline constexpr const char* kGatingNames[] = {"softmax", "softmaxOfChosen"};

// out[t, :] = scale · table[tokens[t], :]
template <class Value, class Weight>
struct Embedding {
  static constexpr const char* kName = "embedding";
  Weight table;
  Value out;
  float scale;
  template <class Visitor>
  void visit(Visitor&& visitor) {
    visitor.weight("table", table);
    visitor.output("out", out);
    visitor.attribute("scale", scale);
  }
};

// out[t, :] = table[p, :], p the position of token t. arXiv:1810.04805 §3.2 (learned positions).
template <class Value, class Weight>
struct PositionEmbedding {
  static constexpr const char* kName = "positionEmbedding";
  Weight table;
  Value out;
  template <class Visitor>
  void visit(Visitor&& visitor) {
    visitor.weight("table", table);
    visitor.output("out", out);
  }
};

// out[i] = x · weight[i]ᵀ (+ bias[i]). x lists one value per activation type that the weights read.
// Epilogue add: out[0] += residual, and out[0] may be residual.
// Epilogues swiglu, geglu: out[0] = act(x · weight[0]ᵀ) · (x · weight[1]ᵀ).
template <class Value, class Weight>
struct Linear {
  static constexpr const char* kName = "linear";
  List<Value> x;
  Value residual;  // optional
  List<Weight> weight;
  List<Weight> bias;  // empty, or one per weight (each may be absent)
  List<Value> out;
  Epilogue epilogue;
  template <class Visitor>
  void visit(Visitor&& visitor) {
    visitor.inputs("x", x);
    visitor.optional_input("residual", residual);
    visitor.weights("weight", weight);
    visitor.optional_weights("bias", bias);
    visitor.outputs("out", out);
    visitor.attribute("epilogue", epilogue, kEpilogueNames);
  }
};

// out[t, d] = x[t, d] / √(mean_d(x[t, d]²) + eps) · weight[d], over each group of the weight's length in a row.
// arXiv:1910.07467 eq. 4.
// out lists one value per type wanted: f32, a8_32, a8_256. A single f32 out may be x.
template <class Value, class Weight>
struct RmsNorm {
  static constexpr const char* kName = "rmsNorm";
  Value x;
  Weight weight;
  List<Value> out;
  float eps;
  template <class Visitor>
  void visit(Visitor&& visitor) {
    visitor.input("x", x);
    visitor.weight("weight", weight);
    visitor.outputs("out", out);
    visitor.attribute("eps", eps);
  }
};

// out[t, d] = (x[t, d] − mean_d) / √(variance_d + eps) · weight[d] (+ bias[d]), over whole rows. arXiv:1607.06450 eq. 3.
// out lists one value per type wanted: f32, a8_32, a8_256. A single f32 out may be x.
template <class Value, class Weight>
struct LayerNorm {
  static constexpr const char* kName = "layerNorm";
  Value x;
  Weight weight;
  Weight bias;  // optional
  List<Value> out;
  float eps;
  template <class Visitor>
  void visit(Visitor&& visitor) {
    visitor.input("x", x);
    visitor.weight("weight", weight);
    visitor.optional_weight("bias", bias);
    visitor.outputs("out", out);
    visitor.attribute("eps", eps);
  }
};

// out[t, :] = scale · (cos(p·f_0), …, cos(p·f_{n-1}), sin(p·f_0), …, sin(p·f_{n-1})),
// p the position of token t, f the n frequencies. Where longFrequencies are given, they hold for all tokens of a sequence
// that may become longer than shortLength. arXiv:2402.13753 §3.
// arXiv:2104.09864 §3.2; scale is the attention factor of arXiv:2309.00071 §3.4, else 1.
template <class Value, class Weight>
struct RopeTable {
  static constexpr const char* kName = "ropeTable";
  Weight frequencies;
  Weight long_frequencies;  // optional
  Value out;
  float scale;
  uint32_t short_length;
  template <class Visitor>
  void visit(Visitor&& visitor) {
    visitor.weight("frequencies", frequencies);
    visitor.optional_weight("longFrequencies", long_frequencies);
    visitor.output("out", out);
    visitor.attribute("scale", scale);
    visitor.attribute("shortLength", short_length);
  }
};

// Rotates the first 2n of every headDim values by the angles of the table: (a, b) → (a·cos − b·sin, b·cos + a·sin).
// Pairs are (i, i + n) with pairing half, (2i, 2i + 1) with interleaved. out may be x. arXiv:2104.09864 eq. 34.
template <class Value, class Weight>
struct Rope {
  static constexpr const char* kName = "rope";
  Value x;
  Value table;
  Value out;
  uint32_t head_dim;
  Pairing pairing;
  template <class Visitor>
  void visit(Visitor&& visitor) {
    visitor.input("x", x);
    visitor.input("table", table);
    visitor.output("out", out);
    visitor.attribute("headDim", head_dim);
    visitor.attribute("pairing", pairing, kPairingNames);
  }
};

// Of x [T, E], scores of experts: out[t, :] = the numbers of the `active` best ones, best first, then their weights.
// Equal scores: the lower number first. Weights: the softmax over all scores, or over the chosen ones. arXiv:2401.04088 §2.1.
template <class Value, class Weight>
struct Route {
  static constexpr const char* kName = "route";
  Value x;
  Value out;
  uint32_t active;
  Gating gating;
  template <class Visitor>
  void visit(Visitor&& visitor) {
    visitor.input("x", x);
    visitor.output("out", out);
    visitor.attribute("active", active);
    visitor.attribute("gating", gating, kGatingNames);
  }
};

// out[t, r·F …] = silu(x · gate[e]ᵀ) · (x · up[e]ᵀ), e the r-th expert that routing has for token t; F rows of gate[e].
// gate and up are [E, F, D]; only chosen experts are read. x lists one value per activation type that the weights read.
template <class Value, class Weight>
struct ExpertsSwiglu {
  static constexpr const char* kName = "expertsSwiglu";
  List<Value> x;
  Value routing;
  Weight gate;
  Weight up;
  Value out;
  template <class Visitor>
  void visit(Visitor&& visitor) {
    visitor.inputs("x", x);
    visitor.input("routing", routing);
    visitor.weight("gate", gate);
    visitor.weight("up", up);
    visitor.output("out", out);
  }
};

// out[t] = Σ_r weight_r · (x[t, r·F …] · down[e_r]ᵀ), weights and experts those that routing has for token t.
// down is [E, D, F]. Added in ascending number of the expert: acc = fma(weight, product, acc), from 0.
template <class Value, class Weight>
struct ExpertsSum {
  static constexpr const char* kName = "expertsSum";
  List<Value> x;
  Value routing;
  Weight down;
  Value out;
  template <class Visitor>
  void visit(Visitor&& visitor) {
    visitor.inputs("x", x);
    visitor.input("routing", routing);
    visitor.weight("down", down);
    visitor.output("out", out);
  }
};

// Stores keys and values [T, K·E] of this step's tokens in the layer's cache pages.
template <class Value, class Weight>
struct KvWrite {
  static constexpr const char* kName = "kvWrite";
  Value k;
  Value v;
  uint32_t layer;
  template <class Visitor>
  void visit(Visitor&& visitor) {
    visitor.input("k", k);
    visitor.input("v", v);
    visitor.attribute("layer", layer);
  }
};

// out = softmax(scale · q · Kᵀ) · V over the cached positions p' ≤ p, and p' > p − window if window > 0.
// q [T, H·E]; query head h reads KV head ⌊h·K / H⌋. arXiv:1706.03762 eq. 1, arXiv:2305.13245 (grouped heads).
// With softcap > 0 a score s becomes softcap · tanh(s / softcap) before the softmax. arXiv:2408.00118 §2.
template <class Value, class Weight>
struct Attention {
  static constexpr const char* kName = "attention";
  Value q;
  Value out;
  uint32_t layer;
  uint32_t head_dim;
  float scale;
  uint32_t window;
  float softcap;
  template <class Visitor>
  void visit(Visitor&& visitor) {
    visitor.input("q", q);
    visitor.output("out", out);
    visitor.attribute("layer", layer);
    visitor.attribute("headDim", head_dim);
    visitor.attribute("scale", scale);
    visitor.attribute("window", window);
    visitor.attribute("softcap", softcap);
  }
};

// Quantizes activations to int8: out lists a8_32, a8_256 or both (native/quant/activations.h).
template <class Value, class Weight>
struct Quantize {
  static constexpr const char* kName = "quantize";
  Value x;
  List<Value> out;
  template <class Visitor>
  void visit(Visitor&& visitor) {
    visitor.input("x", x);
    visitor.outputs("out", out);
  }
};

// out = a + b. out may be a or b.
template <class Value, class Weight>
struct Add {
  static constexpr const char* kName = "add";
  Value a;
  Value b;
  Value out;
  template <class Visitor>
  void visit(Visitor&& visitor) {
    visitor.input("a", a);
    visitor.input("b", b);
    visitor.output("out", out);
  }
};

// out = a · b, elementwise. out may be a or b.
template <class Value, class Weight>
struct Mul {
  static constexpr const char* kName = "mul";
  Value a;
  Value b;
  Value out;
  template <class Visitor>
  void visit(Visitor&& visitor) {
    visitor.input("a", a);
    visitor.input("b", b);
    visitor.output("out", out);
  }
};

// out = silu(gate) · up, elementwise. out may be gate or up. arXiv:2002.05202 §2.
template <class Value, class Weight>
struct Swiglu {
  static constexpr const char* kName = "swiglu";
  Value gate;
  Value up;
  Value out;
  template <class Visitor>
  void visit(Visitor&& visitor) {
    visitor.input("gate", gate);
    visitor.input("up", up);
    visitor.output("out", out);
  }
};

// out = geluTanh(gate) · up, elementwise. out may be gate or up. arXiv:2002.05202 §2.
template <class Value, class Weight>
struct Geglu {
  static constexpr const char* kName = "geglu";
  Value gate;
  Value up;
  Value out;
  template <class Visitor>
  void visit(Visitor&& visitor) {
    visitor.input("gate", gate);
    visitor.input("up", up);
    visitor.output("out", out);
  }
};

// out = x / (1 + e^−x). out may be x. arXiv:1606.08415 §2.
template <class Value, class Weight>
struct Silu {
  static constexpr const char* kName = "silu";
  Value x;
  Value out;
  template <class Visitor>
  void visit(Visitor&& visitor) {
    visitor.input("x", x);
    visitor.output("out", out);
  }
};

// out = 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))). out may be x. arXiv:1606.08415 §2.
template <class Value, class Weight>
struct GeluTanh {
  static constexpr const char* kName = "geluTanh";
  Value x;
  Value out;
  template <class Visitor>
  void visit(Visitor&& visitor) {
    visitor.input("x", x);
    visitor.output("out", out);
  }
};

// out = x · Φ(x) = 0.5·x·(1 + erf(x / √2)). out may be x. arXiv:1606.08415 §2.
template <class Value, class Weight>
struct Gelu {
  static constexpr const char* kName = "gelu";
  Value x;
  Value out;
  template <class Visitor>
  void visit(Visitor&& visitor) {
    visitor.input("x", x);
    visitor.output("out", out);
  }
};

// out = cap · tanh(x / cap). out may be x. arXiv:2408.00118 §2 (logit soft-capping).
template <class Value, class Weight>
struct Softcap {
  static constexpr const char* kName = "softcap";
  Value x;
  Value out;
  float cap;
  template <class Visitor>
  void visit(Visitor&& visitor) {
    visitor.input("x", x);
    visitor.output("out", out);
    visitor.attribute("cap", cap);
  }
};

// out = factor · x. out may be x.
template <class Value, class Weight>
struct Scale {
  static constexpr const char* kName = "scale";
  Value x;
  Value out;
  float factor;
  template <class Visitor>
  void visit(Visitor&& visitor) {
    visitor.input("x", x);
    visitor.output("out", out);
    visitor.attribute("factor", factor);
  }
};

// out[n, :] = x[outputRows[n], :]: the rows whose logits are wanted.
template <class Value, class Weight>
struct OutputRows {
  static constexpr const char* kName = "outputRows";
  Value x;
  Value out;
  template <class Visitor>
  void visit(Visitor&& visitor) {
    visitor.input("x", x);
    visitor.output("out", out);
  }
};

}  // namespace infernode::ops

// X(struct, kernel): every op, in the order of src/graph/ops.ts.
#define INFERNODE_OPS(X) \
  X(Embedding, embedding) \
  X(PositionEmbedding, position_embedding) \
  X(Linear, linear) \
  X(RmsNorm, rms_norm) \
  X(LayerNorm, layer_norm) \
  X(RopeTable, rope_table) \
  X(Rope, rope) \
  X(Route, route) \
  X(ExpertsSwiglu, experts_swiglu) \
  X(ExpertsSum, experts_sum) \
  X(KvWrite, kv_write) \
  X(Attention, attention) \
  X(Quantize, quantize) \
  X(Add, add) \
  X(Mul, mul) \
  X(Swiglu, swiglu) \
  X(Geglu, geglu) \
  X(Silu, silu) \
  X(GeluTanh, gelu_tanh) \
  X(Gelu, gelu) \
  X(Softcap, softcap) \
  X(Scale, scale) \
  X(OutputRows, output_rows)
