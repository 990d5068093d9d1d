# int8 dot products in one instruction without AVX-512: Intel since Alder Lake (2021), AMD since Zen 5 (2024).
set(ISA_FLAGS -mavxvnni -mavx2 -mfma -mf16c)
set(ISA_NEEDS "avxvnni avx2 fma f16c")
set(ISA_RANK 30)
