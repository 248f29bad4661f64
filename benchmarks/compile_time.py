from .cells import RUNGS, SHAPES, Cells


class CompileTime(Cells):
    """How long does Numba compile a kernel? In the order of the parameters: pointwise shares most of standard's code."""

    params = ([f"{operator}.{variant}" for operator, variant in RUNGS.items()],)
    param_names = ("kernel",)

    def setup(self, found, kernel):
        if ("compile", *kernel.split("."), SHAPES[0]) not in found:
            raise NotImplementedError("this commit has no such kernel, or it was not right")

    def track_compile(self, found, kernel):
        return found["compile", *kernel.split("."), SHAPES[0]]

    track_compile.unit = "seconds"
    track_compile.version = "1"
