"""The fused kernel for NVIDIA GPUs: one model a thread block, in the arithmetic `fma-1`."""
