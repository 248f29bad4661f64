"""Kernels for NVIDIA GPUs, in numba.cuda. Only `registered` may be imported where numba-cuda is not installed."""
