"""Numba kernels for the CPU, one file a rung: loops, parallel, tiled, fused.

Vectors and addresses are known to tile, cache sizes and the shares of threads to blocking.
"""
