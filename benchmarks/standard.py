from .cells import SHAPES, Operator


class Standard(Operator):
    """How fast is the standard kernel that the compiler vectorises by itself, and the one of explicit register tiles?"""

    operator = "standard"
    params = (["tiled", "parallel"], SHAPES)
