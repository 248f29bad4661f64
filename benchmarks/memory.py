from .cells import RUNGS


class Memory:
    """How much memory does a process take that binds and launches one kernel? Most of it is Numba's compiler."""

    params = ([f"{operator}.{variant}" for operator, variant in RUNGS.items() if operator in ("standard", "separable")],)
    param_names = ("kernel",)

    def peakmem_launch(self, kernel):
        import numpy as np

        from sepconv_bench import ConvShape, Problem, get_kernel

        found = get_kernel(f"cpu.{kernel}")
        found.bind(Problem.draw(found.operator, ConvShape(3, 512, 512, 14), np.random.default_rng(0)))()

    peakmem_launch.version = "1"
