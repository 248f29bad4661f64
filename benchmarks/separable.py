from .cells import SHAPES, Operator


class Separable(Operator):
    """How fast is separable convolution in one pass (fused), and in two that the compiler vectorises by itself?"""

    operator = "separable"
    params = (["fused", "parallel"], SHAPES)
