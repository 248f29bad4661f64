from .cells import SHAPES, Operator


class Depthwise(Operator):
    """How fast is the depthwise kernel that the compiler vectorises by itself, and the one of explicit register tiles?"""

    operator = "depthwise"
    params = (["tiled", "parallel"], SHAPES)
