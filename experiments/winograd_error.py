"""How far off F(2x2, 3x3) and F(4x4, 3x3) are in float32, for several sets of points and numbers of input channels.

python experiments/winograd_error.py

Of standard normal maps and weights: the largest error in units of what float32's rounding explains of the sum itself, and the
root of the mean square of the error in half ulps of the sum of magnitudes. The products are summed one channel after the other.
"""

from __future__ import annotations

import numpy as np

from sepconv_bench.kernels.cpu import transform

POINTS = {
    2: ((0.0, 1.0, -1.0),),
    4: (
        (0.0, 1.0, -1.0, 2.0, -2.0),
        (0.0, 1.0, -1.0, 0.5, -0.5),
        (0.0, 1.0, -1.0, 0.5, -2.0),
        (0.0, 0.75, -0.75, 1.5, -1.5),
        (0.0, 0.625, -0.625, 1.5, -1.5),
    ),
}
SIZES = ((1, 40000, 4), (2, 20000, 4), (4, 10000, 4), (8, 4000, 8), (16, 2000, 8), (64, 1000, 8), (512, 200, 8))  # M, tiles, N


def error(m: int, M: int, tiles: int, N: int, rng: np.random.Generator) -> tuple[float, float]:
    A_T, G, B_T = transform.matrices(m)
    d = rng.standard_normal((tiles, m + 2, m + 2, M), np.float32)
    K = rng.standard_normal((3, 3, M, N), np.float32)
    U = np.einsum("ai,bj,ijmn->abmn", G, G, K, optimize=True).astype(np.float32)
    L, A = B_T.astype(np.float32), A_T.astype(np.float32)
    V = np.einsum("bj,tajm->tabm", L, np.einsum("ai,tijm->tajm", L, d))
    Y = np.zeros((m + 2, m + 2, tiles, N), np.float32)
    for c in range(M):
        Y += V[..., c].transpose(1, 2, 0)[..., None] * U[:, :, c][:, :, None, :]
    y = np.einsum("bj,ajtn->abtn", A, np.einsum("ai,ijtn->ajtn", A, Y))
    exact, magnitude = np.zeros((2, *y.shape))
    for i, j in np.ndindex(3, 3):
        window, weights = d[:, i : i + m, j : j + m].astype(float).transpose(1, 2, 0, 3), K[i, j].astype(float)
        exact += window @ weights
        magnitude += np.abs(window) @ np.abs(weights)
    off = (y - exact) / magnitude / 2.0**-24
    return np.abs(off).max() / (8 + 2 * np.sqrt(9 * M)), np.sqrt((off**2).mean())


if __name__ == "__main__":
    rng = np.random.default_rng(1)
    print("| pixels | points | " + " | ".join(f"M = {M}" for M, _, _ in SIZES) + " |\n|---|---|" + "---:|" * len(SIZES))
    for m, sets in POINTS.items():
        for points in sets:
            transform._POINTS[m] = points
            transform.matrices.cache_clear()
            found = (error(m, *sizes, rng) for sizes in SIZES)
            shown = " | ".join(f"{most:.2f} ({usual:.1f})" for most, usual in found)
            print(f"| {m} x {m} | {', '.join(f'{point:g}' for point in points)} | {shown} |", flush=True)
