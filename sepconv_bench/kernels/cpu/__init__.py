"""Numba kernels for the CPU, one file a rung: loops, parallel."""
