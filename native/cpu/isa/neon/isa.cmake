# Every 64-bit Arm CPU.
set(ISA_FLAGS)
set(ISA_NEEDS "neon")
set(ISA_RANK 20)
