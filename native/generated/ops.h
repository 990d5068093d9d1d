// Written by scripts/generate.ts from src/graph/ops.ts. Do not edit.
// One struct per op. A plan holds them over (ValueId, WeightId), a kernel gets them over (Rows, Weight): see native/plan.h.
#pragma once

#include <cstdint>

namespace infernode::ops {

// Up to four operands of one role: the weights of a grouped linear, for example.
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

// out[t, :] = scale * table[tokens[t], :]
template <class Value, class Weight>
struct Embedding {
  static constexpr const char* kName = "embedding";
  Weight table;
  Value out;
  float scale;
  template <class Visitor>
  void visit(Visitor&& v) {
    v.weight("table", table);
    v.output("out", out);
    v.attribute("scale", scale);
  }
};

// out[i] = x · weight[i]ᵀ (+ bias[i]). x lists one value per activation type that the weights read.
// Epilogue add: out[0] += residual. swiglu/geglu: out[0] = act(x · weight[0]ᵀ) * (x · weight[1]ᵀ).
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
  void visit(Visitor&& v) {
    v.inputs("x", x);
    v.optional_input("residual", residual);
    v.weights("weight", weight);
    v.optional_weights("bias", bias);
    v.outputs("out", out);
    v.attribute("epilogue", epilogue, kEpilogueNames);
  }
};

// y = x[t, d] / sqrt(mean_d(x²) + eps) * weight[d], over each group of weight's length in a row.
// out lists one value per type wanted: f32, a8_32, a8_256.
template <class Value, class Weight>
struct RmsNorm {
  static constexpr const char* kName = "rmsNorm";
  Value x;
  Weight weight;
  List<Value> out;
  float eps;
  template <class Visitor>
  void visit(Visitor&& v) {
    v.input("x", x);
    v.weight("weight", weight);
    v.outputs("out", out);
    v.attribute("eps", eps);
  }
};

// out[t, :] = scale * (cos(p·f_0), …, cos(p·f_n), sin(p·f_0), …, sin(p·f_n)), p the position of token t.
template <class Value, class Weight>
struct RopeTable {
  static constexpr const char* kName = "ropeTable";
  Weight frequencies;
  Value out;
  float scale;
  template <class Visitor>
  void visit(Visitor&& v) {
    v.weight("frequencies", frequencies);
    v.output("out", out);
    v.attribute("scale", scale);
  }
};

// Rotates the first 2n of every headDim values by the angles of the table; out may be x.
template <class Value, class Weight>
struct Rope {
  static constexpr const char* kName = "rope";
  Value x;
  Value table;
  Value out;
  uint32_t head_dim;
  Pairing pairing;
  template <class Visitor>
  void visit(Visitor&& v) {
    v.input("x", x);
    v.input("table", table);
    v.output("out", out);
    v.attribute("headDim", head_dim);
    v.attribute("pairing", pairing, kPairingNames);
  }
};

// Stores keys and values of this step's tokens in the layer's cache pages.
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

// out = softmax(scale * q · Kᵀ) · V over the cached positions p' <= p (and p' > p - window if window > 0).
template <class Value, class Weight>
struct Attention {
  static constexpr const char* kName = "attention";
  Value q;
  Value out;
  uint32_t layer;
  uint32_t head_dim;
  float scale;
  uint32_t window;
  template <class Visitor>
  void visit(Visitor&& v) {
    v.input("q", q);
    v.output("out", out);
    v.attribute("layer", layer);
    v.attribute("headDim", head_dim);
    v.attribute("scale", scale);
    v.attribute("window", window);
  }
};

// Quantizes activations: out lists a8_32, a8_256 or both.
template <class Value, class Weight>
struct Quantize {
  static constexpr const char* kName = "quantize";
  Value x;
  List<Value> out;
  template <class Visitor>
  void visit(Visitor&& v) {
    v.input("x", x);
    v.outputs("out", out);
  }
};

#define INFERNODE_ELEMENTWISE_2(Name, name, A, a, B, b)      \
  template <class Value, class Weight>                       \
  struct Name {                                              \
    static constexpr const char* kName = name;               \
    Value A, B, out;                                         \
    template <class Visitor>                                 \
    void visit(Visitor&& visitor) {                          \
      visitor.input(a, A);                                   \
      visitor.input(b, B);                                   \
      visitor.output("out", out);                            \
    }                                                        \
  };
INFERNODE_ELEMENTWISE_2(Add, "add", a, "a", b, "b")
INFERNODE_ELEMENTWISE_2(Mul, "mul", a, "a", b, "b")
INFERNODE_ELEMENTWISE_2(Swiglu, "swiglu", gate, "gate", up, "up")
INFERNODE_ELEMENTWISE_2(Geglu, "geglu", gate, "gate", up, "up")

template <class Value, class Weight>
struct Silu {
  static constexpr const char* kName = "silu";
  Value x, out;
  template <class Visitor>
  void visit(Visitor&& v) {
    v.input("x", x);
    v.output("out", out);
  }
};
// 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))
template <class Value, class Weight>
struct GeluTanh {
  static constexpr const char* kName = "geluTanh";
  Value x, out;
  template <class Visitor>
  void visit(Visitor&& v) {
    v.input("x", x);
    v.output("out", out);
  }
};
template <class Value, class Weight>
struct Scale {
  static constexpr const char* kName = "scale";
  Value x, out;
  float factor;
  template <class Visitor>
  void visit(Visitor&& v) {
    v.input("x", x);
    v.output("out", out);
    v.attribute("factor", factor);
  }
};
// out[n, :] = x[outputRows[n], :]: the rows whose logits are wanted.
template <class Value, class Weight>
struct OutputRows {
  static constexpr const char* kName = "outputRows";
  Value x, out;
  template <class Visitor>
  void visit(Visitor&& v) {
    v.input("x", x);
    v.output("out", out);
  }
};

}  // namespace infernode::ops

// X(struct, kernel): every op, in the order of src/graph/ops.ts.
#define INFERNODE_OPS(X)         \
  X(Embedding, embedding)        \
  X(Linear, linear)              \
  X(RmsNorm, rms_norm)           \
  X(RopeTable, rope_table)       \
  X(Rope, rope)                  \
  X(KvWrite, kv_write)           \
  X(Attention, attention)        \
  X(Quantize, quantize)          \
  X(Add, add)                    \
  X(Mul, mul)                    \
  X(Swiglu, swiglu)              \
  X(Geglu, geglu)                \
  X(Silu, silu)                  \
  X(GeluTanh, gelu_tanh)         \
  X(Scale, scale)                \
  X(OutputRows, output_rows)
