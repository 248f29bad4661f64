from .cells import SHAPES, Operator


class Pointwise(Operator):
    """How fast is the pointwise kernel that the compiler vectorises by itself, and the one of explicit register tiles?"""

    operator = "pointwise"
    params = (["tiled", "parallel"], SHAPES)
