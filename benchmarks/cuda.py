import shutil

from .cells import RUNGS, SHAPES, swept

_THEORY = "1/N + 1/D_K^2"

# Without a GPU there is no class: asv would spend a process on each number only to hear that it cannot be had.
if shutil.which("nvidia-smi"):

    class Cuda:
        """How fast are the GPU's kernels, and what does separable convolution cost of the standard one there?"""

        params = ([f"{operator}.{variant}" for operator, variant in RUNGS.items()], SHAPES)
        param_names = ("kernel", "shape")
        timeout = 300

        def setup_cache(self):
            return swept("cuda")

        def setup(self, found, kernel, shape):
            if ("time", *kernel.split("."), shape) not in found:
                raise NotImplementedError("this commit has no such kernel, or it was not right")

        def track_time(self, found, kernel, shape):
            return found["time", *kernel.split("."), shape]

        def track_peak_over_attained(self, found, kernel, shape):
            """1 / eta: how many times slower than multiply-adds alone, timed in the same rounds."""
            return found["peak", *kernel.split("."), shape]

        track_time.unit = "seconds"
        track_time.version = "2"
        track_peak_over_attained.unit = "1/eta"
        track_peak_over_attained.version = "2"
