"""What the suite says when it is asked for something that cannot be done."""


class InputError(ValueError):
    """A request that does not fit: the message says what came and what would fit, in one line."""


class Stopped(BaseException):
    """Ctrl-C, or a request to end. Not a KeyboardInterrupt, before which libraries print lines of their own."""


class ShapeError(InputError):
    """Sizes or arrays that no operator of this suite can take."""


class KernelError(InputError):
    """A kernel that does not exist, cannot be registered, or does not support the shape."""


class ResultsError(InputError):
    """A results file that is missing, broken, in use, or not ours."""
