# Intel since Haswell (2013), AMD since Zen (2017).
set(ISA_FLAGS -mavx2 -mfma -mf16c)
set(ISA_NEEDS "avx2 fma f16c")
set(ISA_RANK 20)
