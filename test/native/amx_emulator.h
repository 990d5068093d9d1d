// Runs code with AMX instructions on a CPU that has none, for tests.
#pragma once

namespace infernode::test {

// From now on this process emulates the tile instructions of the variant amx, each a thousand times slower than it is: every
// one ends in SIGILL, whose handler does its work by the pseudo code of the Intel SDM and goes on behind it. So what is tested
// is the machine code that is shipped. What the instruction would refuse (shapes that do not fit, tiles without one) ends the
// process with a message. Linux on x86-64; false elsewhere.
bool emulate_amx();

// Whether the calling thread has tiles configured, which it owes the system to release. Only under emulation.
bool tiles_in_use();

}  // namespace infernode::test
