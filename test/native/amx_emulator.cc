// Decodes and emulates ldtilecfg, tilerelease, tilezero, tileloadd, tilestored, tdpbssd and tdpbf16ps (Intel SDM vol. 2, and
// vol. 1 ch. 18). All are VEX encoded with three prefix bytes: C4, R̄X̄B̄ and the opcode map 0F38, W v̄v̄v̄v̄ L pp.
#include "amx_emulator.h"

#if defined(__x86_64__) && defined(__linux__)
#include <signal.h>
#include <ucontext.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace infernode::test {

namespace {

struct Tile {
  size_t rows, row_bytes;  // 0: no shape
  uint8_t data[16][64];
};
struct TileState {
  bool configured;
  Tile tiles[8];
};
thread_local TileState state;

[[noreturn]] void refuse(const char* why) {
  std::fprintf(stderr, "amx emulation: %s\n", why);
  std::abort();
}

// One instruction, and the registers that it may read.
class Instruction {
 public:
  Instruction(const uint8_t* code, const greg_t* registers) : code_(code), registers_(registers) {}
  // Not the encoding of a tile instruction: some other fault of the program.
  bool known() const { return code_[0] == 0xc4 && (code_[1] & 0x1f) == 2 && (code_[2] & 0x84) == 0; }
  uint8_t opcode() const { return code_[3]; }
  // None, 66, F3, F2.
  int prefix() const { return code_[2] & 3; }
  bool has_memory() const { return modrm() >> 6 != 3; }
  int reg() const { return (modrm() >> 3 & 7) | extended(0x80); }
  int rm() const { return (modrm() & 7) | extended(0x20); }
  int vvvv() const { return ~(code_[2] >> 3) & 15; }

  size_t size() const {
    if (!has_memory()) return 5;
    const int mod = modrm() >> 6;
    const bool sib = (modrm() & 7) == 4;
    return size_t{5} + sib + (mod == 1 ? 1 : mod == 2 || wide_displacement() ? 4 : 0);
  }
  // Without the index register, which for tiles is the stride.
  uint8_t* base() const {
    const bool sib = (modrm() & 7) == 4;
    const uint8_t* after = code_ + 5 + sib;
    int64_t address = 0;
    if (modrm() >> 6 == 1)
      address = static_cast<int8_t>(*after);
    else if (modrm() >> 6 == 2 || wide_displacement())
      address = displacement(after);
    if (!sib && wide_displacement())
      address += reinterpret_cast<int64_t>(code_ + size());  // relative to the next instruction
    else if (!wide_displacement())
      address += value((sib ? code_[5] & 7 : modrm() & 7) | extended(0x20));
    return reinterpret_cast<uint8_t*>(address);
  }
  int64_t stride() const {
    if ((modrm() & 7) != 4) refuse("a tile's address without an index");
    const int index = (code_[5] >> 3 & 7) | extended(0x40);
    return index == 4 ? 0 : value(index) << (code_[5] >> 6);
  }

 private:
  uint8_t modrm() const { return code_[4]; }
  int extended(uint8_t bit) const { return code_[1] & bit ? 0 : 8; }
  // mod 0 with base 101: four bytes and no base register.
  bool wide_displacement() const { return modrm() >> 6 == 0 && ((modrm() & 7) == 4 ? code_[5] & 7 : modrm() & 7) == 5; }
  static int64_t displacement(const uint8_t* p) {
    int32_t x;
    std::memcpy(&x, p, 4);
    return x;
  }
  int64_t value(int number) const {
    static constexpr int kOrder[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                     REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    return registers_[kOrder[number]];
  }

  const uint8_t* code_;
  const greg_t* registers_;
};

Tile& tile(int number) {
  if (!state.configured) refuse("no tiles are configured");
  if (number > 7 || state.tiles[number].rows == 0) refuse("a tile without a shape");
  return state.tiles[number];
}

void configure(const uint8_t* shapes) {
  state = {};
  if (shapes[0] != 1 || shapes[1] != 0) refuse("not palette 1, from row 0");
  for (int i = 2; i < 16; i++)
    if (shapes[i] != 0) refuse("reserved bytes that are not 0");
  for (int i = 0; i < 16; i++) {
    uint16_t row_bytes;
    std::memcpy(&row_bytes, shapes + 16 + 2 * i, 2);
    const uint8_t rows = shapes[48 + i];
    if (rows > 16 || row_bytes > 64 || (rows == 0) != (row_bytes == 0)) refuse("a shape that no tile can have");
    if (i >= 8 && rows) refuse("more than eight tiles");
    if (i < 8) state.tiles[i].rows = rows, state.tiles[i].row_bytes = row_bytes;
  }
  state.configured = true;
}

void load(Tile& to, const uint8_t* base, int64_t stride) {
  std::memset(to.data, 0, sizeof to.data);
  for (size_t i = 0; i < to.rows; i++) std::memcpy(to.data[i], base + static_cast<int64_t>(i) * stride, to.row_bytes);
}
void store(const Tile& from, uint8_t* base, int64_t stride) {
  for (size_t i = 0; i < from.rows; i++) std::memcpy(base + static_cast<int64_t>(i) * stride, from.data[i], from.row_bytes);
}

void check_product(const Tile& c, const Tile& a, const Tile& b) {
  if (c.row_bytes != b.row_bytes || c.rows != a.rows || a.row_bytes != 4 * b.rows) refuse("shapes that do not fit");
  if (&a == &b || &a == &c || &b == &c) refuse("one tile twice");
}

void add_byte_products(Tile& c, const Tile& a, const Tile& b) {
  check_product(c, a, b);
  int16_t right[16][4][16];
  for (size_t k = 0; k < b.rows; k++)
    for (size_t n = 0; n < 16; n++)
      for (size_t i = 0; i < 4; i++) right[k][i][n] = static_cast<int8_t>(b.data[k][4 * n + i]);
  for (size_t m = 0; m < c.rows; m++) {
    uint32_t sums[16];
    std::memcpy(sums, c.data[m], sizeof sums);
    for (size_t k = 0; k < b.rows; k++)
      for (size_t i = 0; i < 4; i++) {
        const int left = static_cast<int8_t>(a.data[m][4 * k + i]);
        for (size_t n = 0; n < 16; n++) sums[n] += static_cast<uint32_t>(left * right[k][i][n]);
      }
    std::memcpy(c.data[m], sums, c.row_bytes);
  }
}

// Subnormals count as zeros, and become zeros.
float flushed(float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }
float bf16_at(const uint8_t* p) {
  const uint32_t pattern = static_cast<uint32_t>(p[0]) << 16 | static_cast<uint32_t>(p[1]) << 24;
  float x;
  std::memcpy(&x, &pattern, 4);
  return flushed(x);
}
void add_bf16_products(Tile& c, const Tile& a, const Tile& b) {
  check_product(c, a, b);
  for (size_t m = 0; m < c.rows; m++)
    for (size_t n = 0; n < c.row_bytes / 4; n++) {
      float halves[2] = {0, 0}, sum;
      for (size_t k = 0; k < b.rows; k++)
        for (size_t i = 0; i < 2; i++)
          halves[i] = flushed(std::fma(bf16_at(&a.data[m][4 * k + 2 * i]), bf16_at(&b.data[k][4 * n + 2 * i]), halves[i]));
      std::memcpy(&sum, &c.data[m][4 * n], 4);
      sum = flushed(flushed(sum) + flushed(halves[0] + halves[1]));
      std::memcpy(&c.data[m][4 * n], &sum, 4);
    }
}

// False if it is none of these.
bool emulate(const Instruction& code) {
  enum Prefix { kNone, k66, kF3, kF2 };
  switch (code.opcode()) {
    case 0x49:
      if (code.prefix() == kNone && code.has_memory()) return configure(code.base()), true;
      if (code.prefix() == kNone) return state = {}, true;
      if (code.prefix() != kF2 || code.has_memory()) return false;
      return std::memset(tile(code.reg()).data, 0, sizeof(Tile::data)), true;
    case 0x4b:
      if (!code.has_memory()) return false;
      if (code.prefix() == kF2) return load(tile(code.reg()), code.base(), code.stride()), true;
      if (code.prefix() == kF3) return store(tile(code.reg()), code.base(), code.stride()), true;
      return false;
    case 0x5c:
      if (code.prefix() != kF3 || code.has_memory()) return false;
      return add_bf16_products(tile(code.reg()), tile(code.rm()), tile(code.vvvv())), true;
    case 0x5e:
      if (code.prefix() != kF2 || code.has_memory()) return false;
      return add_byte_products(tile(code.reg()), tile(code.rm()), tile(code.vvvv())), true;
    default: return false;
  }
}

struct sigaction before;  // what was done about SIGILL

void on_illegal_instruction(int, siginfo_t*, void* context) {
  greg_t* registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  const Instruction code(reinterpret_cast<const uint8_t*>(registers[REG_RIP]), registers);
  if (!code.known() || !emulate(code)) {
    sigaction(SIGILL, &before, nullptr);  // comes again, for whoever was there first
    return;
  }
  registers[REG_RIP] += static_cast<greg_t>(code.size());
}

}  // namespace

bool emulate_amx() {
  struct sigaction action = {}, old;
  action.sa_sigaction = on_illegal_instruction;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  if (sigaction(SIGILL, &action, &old) != 0) return false;
  if (old.sa_sigaction != on_illegal_instruction) before = old;
  return true;
}
bool tiles_in_use() { return state.configured; }

}  // namespace infernode::test

#else

namespace infernode::test {
bool emulate_amx() { return false; }
bool tiles_in_use() { return false; }
}  // namespace infernode::test

#endif
