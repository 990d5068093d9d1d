// The limit of this variant: products of bytes by tiles that never wait for each other.
#pragma once

#include "cpu/isa/amx/tiles.h"

namespace infernode::cpu::INFERNODE_ISA {
namespace {

inline uint64_t multiply_all(uint64_t multiply_adds) {
  configure_tiles(kTileRows, kTileBytes);
  zero_tile<0>(), zero_tile<1>(), zero_tile<2>(), zero_tile<3>(), zero_tile<4>(), zero_tile<6>();
  for (uint64_t done = 0; done < multiply_adds; done += 4 * kTileRows * kTileRows * kTileBytes) {
    add_dots<0, 4, 6>();
    add_dots<1, 4, 6>();
    add_dots<2, 4, 6>();
    add_dots<3, 4, 6>();
  }
  alignas(64) int32_t sums[kTileRows][kLanes];
  store_tile<0>(sums, sizeof sums[0]);
  release_tiles();
  return static_cast<uint64_t>(sums[0][0]);
}

}  // namespace
}  // namespace infernode::cpu::INFERNODE_ISA
