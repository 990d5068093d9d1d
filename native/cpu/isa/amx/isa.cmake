# Tiles of int8 and bf16 products: Intel servers since Sapphire Rapids (2023).
set(ISA_FLAGS -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx512bf16 -mamx-tile -mamx-int8 -mamx-bf16
    -mavx2 -mfma -mf16c
    -Wno-uninitialized -Wno-maybe-uninitialized)  # GCC 12 warns inside its own avx512fintrin.h
set(ISA_NEEDS "amx-tile amx-int8 amx-bf16 avx512f avx512bw avx512vl avx512dq avx512vnni avx512bf16 avx2 fma f16c")
set(ISA_RANK 70)
set(ISA_BASE avx512_bf16)
set(ISA_SOURCES ${PRODUCT_SOURCES})
