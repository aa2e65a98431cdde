"""int4 and int8 weights: their grid, their folders, and the kernels that read them."""
