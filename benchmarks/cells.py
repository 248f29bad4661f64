"""The bridge from asv to the suite: two cells are swept once for each commit, and the benchmarks read what was sampled.

asv would start a process for every number and time it alone. Here all kernels of a cell run in the same rounds, beside the
machine's peak, as they do for the command line; asv gets the samples, and keeps their median and interval.
Nothing of the suite is imported before it is needed: a commit that lacks it then fails in its own results only.
"""

from abc import ABC, abstractmethod
from pathlib import Path

# The two ends of MobileNet-V1: a large map of few channels, which memory holds back, and a small one of many, which the
# multiply-adds do.
SHAPES = ("D_K=3 M=32 N=64 D_G=112", "D_K=3 M=512 N=512 D_G=14")
RUNGS = {"standard": "tiled", "depthwise": "tiled", "pointwise": "tiled", "separable": "fused"}
_KERNELS = {"cpu": "cpu.*.parallel,cpu.*.tiled,cpu.separable.fused", "cuda": "cuda.*.tiled,cuda.separable.fused"}
_PAIRS = {"cpu": (("fused", "tiled"), ("parallel", "parallel")), "cuda": (("fused", "tiled"),)}
_SECONDS = 6.0  # of sampling a cell


class Cells:
    """What the benchmarks of one commit share: asv calls setup_cache once for all of them."""

    timeout = 300

    def setup_cache(self):
        return swept("cpu")


def swept(device):
    """Sweep the cells; gives {(question, kernel or pair, shape): what a track_ method returns}."""
    from sepconv_bench.measure.machine import default_threads
    from sepconv_bench.measure.records import Rules
    from sepconv_bench.model import theory
    from sepconv_bench.model.grids import Grid
    from sepconv_bench.model.shapes import ConvShape
    from sepconv_bench.results import store
    from sepconv_bench.results.records import PEAK
    from sepconv_bench.run.sweep import Settings, sweep

    shapes = {text: ConvShape(**{name: int(size) for name, size in map(_split, text.split())}) for text in SHAPES}
    folder = Path.cwd()
    grid = Grid("asv", "the cells that are followed over commits", tuple(shapes.values()))
    # All kernels until the time is up; a commit that cannot be told so gets a target that nothing reaches.
    whole = {"evenly": True} if "evenly" in Rules.__struct_fields__ else {"target": 1e-4}
    rules = Rules(seconds=_SECONDS, **whole)
    settings = Settings(grid, _KERNELS[device], threads=default_threads(), rules=rules, device=device)
    sweep(settings, lambda: store.create(folder), lambda step: print(step.line))
    found = {}
    with store.open_results(folder) as file:
        for text, cell in zip(SHAPES, file.cells(), strict=True):
            for outcome in cell.outcomes:
                if outcome.status != "ok":
                    continue
                operator, variant = outcome.kernel.operator, outcome.kernel.variant
                times, work = cell.samples[outcome.kernel.name], 2 * theory.multiplications(operator, cell.shape)
                found["time", operator, variant, text] = _samples(times)
                at_peak = [block * work / cell.measured.peak_flop for block in cell.samples[PEAK]]
                found["peak", operator, variant, text] = _samples(times, at_peak)
                found["compile", operator, variant, text] = outcome.compile_s
            for separable, standard in _PAIRS[device]:
                both = (f"{device}.separable.{separable}", f"{device}.standard.{standard}")
                if all(name in cell.times for name in both):
                    found["ratio", f"{separable} / {standard}", text] = _samples(*(cell.samples[name] for name in both))
            found["ratio", "1/N + 1/D_K^2", text] = float(theory.cost_ratio(cell.shape))
    return found


class Operator(Cells, ABC):  # abstract: asv leaves it alone
    """Time and distance from the peak of one operator's kernels; a subclass names the operator and them."""

    param_names = ("kernel", "shape")

    @property
    @abstractmethod
    def operator(self): ...

    def setup(self, found, kernel, shape):
        if ("time", self.operator, kernel, shape) not in found:
            raise NotImplementedError("this commit has no such kernel, or it was not right")

    def track_time(self, found, kernel, shape):
        return found["time", self.operator, kernel, shape]

    def track_peak_over_attained(self, found, kernel, shape):
        """1 / eta: how many times slower than multiply-adds alone, timed in the same rounds."""
        return found["peak", self.operator, kernel, shape]

    track_time.unit = "seconds"
    track_time.version = "2"
    track_peak_over_attained.unit = "1/eta"
    track_peak_over_attained.version = "2"


def _split(word):
    name, _, size = word.partition("=")
    return name, size


def _samples(blocks, beside=None):
    """A block's median, or its median of ratios within a round: asv's interval is then one over blocks."""
    import numpy as np

    if beside is not None:
        blocks = [top / bottom for top, bottom in zip(blocks, beside, strict=True)]
    return {"samples": [float(np.nanmedian(block)) for block in blocks if not np.isnan(block).all()], "number": 1}
