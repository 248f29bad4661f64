"""Numba kernels for the CPU, one file a rung: loops, parallel, tiled, fused. Vectors and addresses are in tile, cache sizes and shares in blocking."""
