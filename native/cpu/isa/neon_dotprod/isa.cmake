# int8 dot products in one instruction: Arm since Cortex-A75 and Neoverse N1 (2018), Apple since the A13 and M1.
set(ISA_FLAGS -march=armv8.2-a+dotprod)
set(ISA_NEEDS "neon dotprod")
set(ISA_RANK 40)
