"""A sweep of CUDA kernels as `make gpu-report` makes one, in Numba's simulator, with the host's clock and ceilings.

`NUMBA_ENABLE_CUDASIM=1 python tests/gpu_rehearsal.py DIR` measures one tiny shape in two dtypes and draws the report. The times
are those of Python and mean nothing, which is why `run` refuses them. Torch has no simulator: the kernels are ours.

The worker loads this file as a plug-in, which is where the clock is replaced; a plug-in must bring a kernel.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sepconv_bench import get_kernel, kernel
from sepconv_bench.measure import ceilings, cuda
from sepconv_bench.measure.clocks import Clock

cuda.CudaClock = lambda cold: Clock()  # type: ignore[assignment, misc]
cuda.fma_peak, cuda.copies = ceilings.fma_peak, ceilings.copies  # type: ignore[assignment]
_ours = get_kernel("cuda.standard.loops")
kernel("cuda.standard.rehearsed", unpack=_ours.unpack)(_ours.bind)

if __name__ == "__main__":
    from sepconv_bench.cli.drawing import draw, opened
    from sepconv_bench.measure.records import Rules
    from sepconv_bench.model.grids import Grid, in_dtypes
    from sepconv_bench.model.shapes import ConvShape
    from sepconv_bench.run.folders import held
    from sepconv_bench.run.sweep import Settings, sweep

    folder = Path(sys.argv[1])
    grid = in_dtypes(Grid("custom", "a rehearsal", (ConvShape(1, 2, 2, 1),)), "f32,bf16")
    chosen = "cuda.standard.rehearsed,cuda.separable.loops,cuda.depthwise.tiled,cuda.standard.tensor,cuda.separable.tensor"
    settings = Settings(grid, chosen, (__file__,), 1, Rules(0.5, 4.0), 120.0, 0, "cuda", False)
    with held(folder):
        sweep(settings, lambda: opened(folder, resume=True), lambda told: print(told.line))
        draw(folder)
