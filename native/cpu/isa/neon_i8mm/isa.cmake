# Products of 2 by 8 matrices of int8 in one instruction: Arm since Neoverse V1 (2020), Apple since the A15 and M2.
set(ISA_FLAGS -march=armv8.2-a+dotprod+i8mm)
set(ISA_NEEDS "neon dotprod i8mm")
set(ISA_RANK 50)
set(ISA_BASE neon_dotprod)
set(ISA_SOURCES ${PRODUCT_SOURCES})
