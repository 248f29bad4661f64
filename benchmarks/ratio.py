from .cells import SHAPES, Cells


class Ratio(Cells):
    """What does separable convolution cost of the standard one, beside what the formula promises?"""

    params = (["fused / tiled", "parallel / parallel", "1/N + 1/D_K^2"], SHAPES)
    param_names = ("pair", "shape")

    def setup(self, found, pair, shape):
        if ("ratio", pair, shape) not in found:
            raise NotImplementedError("this commit has no such pair, or one of it was not right")

    def track_cost_ratio(self, found, pair, shape):
        return found["ratio", pair, shape]

    track_cost_ratio.unit = "T_separable / T_standard"
    track_cost_ratio.version = "2"
