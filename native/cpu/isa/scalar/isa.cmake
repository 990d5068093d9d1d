# Runs anywhere: the readable specification of the vector vocabulary, and the last resort.
set(ISA_FLAGS "")
set(ISA_NEEDS "")
set(ISA_RANK 0)
