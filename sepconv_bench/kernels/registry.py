"""One way to compute one operator on one device, by name: `<device>.<operator>.<variant>`.

A kernel is a function that binds: it takes a `Problem`, packs, allocates and compiles, and gives back a launch of
no arguments. `@kernel("cpu.pointwise.mine")` registers one; so does an entry point of the group
`sepconv_bench.kernels` that names a module which does.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from sepconv_bench import gpu
from sepconv_bench.errors import KernelError
from sepconv_bench.kernels.problem import GpuMemory, Problem, Steps, problem_from_arrays
from sepconv_bench.model.declaration import DEVICES, USER, Algorithm, Declaration
from sepconv_bench.model.dtypes import Dtype
from sepconv_bench.model.operators import OPERATORS, Operator, get_operator
from sepconv_bench.model.shapes import PROPERTIES, ConvShape, Property

ENTRY_POINTS = "sepconv_bench.kernels"
_BUILT_IN = (
    "sepconv_bench.kernels.cpu.loops",
    "sepconv_bench.kernels.cpu.parallel",
    "sepconv_bench.kernels.cpu.tiled",
    "sepconv_bench.kernels.cpu.fused",
    "sepconv_bench.kernels.cpu.winograd",
    "sepconv_bench.kernels.peers.numpy",
    "sepconv_bench.kernels.peers.torch",
    "sepconv_bench.kernels.peers.onnxruntime",
    "sepconv_bench.kernels.peers.openvino",
    "sepconv_bench.kernels.peers.xnnpack",
    "sepconv_bench.kernels.peers.ncnn",
    "sepconv_bench.kernels.cuda.registered",
    "sepconv_bench.kernels.peers.cudnn",
)
_NAME = re.compile(r"([a-z]+)\.([a-z]+)\.([A-Za-z0-9_-]{1,64})")

Launch = Callable[[], object]
Bind = Callable[[Problem], Launch]
Unpack = Callable[[Any, np.ndarray], None]


def _any_shape(shape: ConvShape) -> str | None:
    return None


def _as_a_sum(shape: ConvShape) -> float:
    return 1.0


def _nothing(given: object, G: np.ndarray) -> None:
    pass


@dataclass(frozen=True)
class Kernel:
    """A registered kernel. `bind(problem)` gives the launch that is timed; calling it with arrays is the checked way in.

    `declaration` says what it is: its name, whose it is, its passes over memory, what it is compared with.

    `takes`: of what a shape may say beyond the paper's, square and valid and with one stride, what the kernel knows. Of others,
    and of what `supports(shape)` gives a reason against, `refuses(shape)` says why.

    A launch writes `problem.G`. Where a library allocates its own output, or lays it out in its own way, the launch returns
    it, and `unpack(given, G)` copies what the launch returned into G: whenever a result is looked at, and never timed.

    `needs` names the modules that `bind` imports and that may be missing; the first is also the extra that brings them.

    `rounding(shape)`: how many times as much as float32 explains of the sum itself the result may differ from the exact one.
    More than 1 for one that rounds more than a sum does, as Winograd's algorithm does; its errors are told in units of that.
    """

    declaration: Declaration
    bind: Bind
    supports: Callable[[ConvShape], str | None] = _any_shape
    unpack: Unpack = _nothing
    needs: tuple[str, ...] = ()
    takes: tuple[Property, ...] = ()
    rounding: Callable[[ConvShape], float] = _as_a_sum

    @property
    def name(self) -> str:
        return self.declaration.name

    @property
    def device(self) -> str:
        return self.declaration.device

    @property
    def operator(self) -> Operator:
        return get_operator(self.declaration.operator)

    @property
    def missing(self) -> str | None:
        """What it takes before this kernel can run, or None; looks for the modules without importing them."""
        if self.device == "cuda" and (reason := gpu.missing()) is not None:
            return reason
        if all(map(_is_there, self.needs)):
            return None
        return f"not installed: pip install 'sepconv-bench[{self.needs[0]}]'"

    def refuses(self, shape: ConvShape) -> str | None:
        """Why the kernel does not take that shape, or None."""
        if shape.dtype not in self.declaration.dtypes:
            return f"it computes in {' and '.join(self.declaration.dtypes)}, not in {shape.dtype}"
        beyond = [f"no {name}" for name in self.operator.properties(shape) if name not in self.takes]
        return f"it takes {' and '.join(beyond)}" if beyond else self.supports(shape)

    def __call__(
        self,
        F: Any,
        *weights: Any,
        stride: int | tuple[int, int] = 1,
        padding: object = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        multiplier: int = 1,
        dtype: Dtype | None = None,
        out: Any = None,
    ) -> Any:
        """G (D_G, D_G, N) of F (D_F, D_F, M), or with a leading batch axis if F has one; D_G = (D_F - D_K) // stride + 1.

        Weights are K (D_K, D_K, M, N) for standard, K_hat (D_K, D_K, M) for depthwise, K_tilde (M, N) for pointwise, and
        K_hat, K_tilde for separable. All float32, channels contiguous, other strides free. G is written into `out` if given.
        Maps and windows need not be square; stride and dilation are a number, or one down and one along a row; padding is a
        number or several, or a word, as `ConvShape.with_padding` takes it. With `groups` K is (D_K, D_K, M / groups, N); with a
        `multiplier` K_hat is (D_K, D_K, M x multiplier), what becomes of one channel side by side, and K_tilde's M as large.
        A CUDA kernel also takes arrays on the GPU, whoever made them (`__cuda_array_interface__`); G then lies where F does.
        `dtype` is what the kernel rounds F and the weights to, by default the first that it takes.
        Raises ShapeError, a ValueError, for arrays that do not fit, and KernelError for a shape this kernel does not take or a
        library that is not installed.
        """
        if self.missing is not None:
            raise KernelError(f"{self.name} is {self.missing}")
        steps = Steps(stride, padding, dilation, groups, multiplier, dtype or self.declaration.dtypes[0])
        problem, G = problem_from_arrays(self.operator, (F, *weights), steps, out, self._gpu())
        reason = self.refuses(problem.shape)
        if reason is not None:
            raise KernelError(f"{self.name} does not take {problem.shape}: {reason}")
        self.unpack(self.bind(problem)(), problem.G)
        return G

    def _gpu(self) -> GpuMemory | None:
        if self.device != "cuda":
            return None
        from sepconv_bench.kernels.cuda.arrays import DeviceMemory

        return DeviceMemory()


_kernels: dict[str, Kernel] = {}
_loaded = False


def kernel(
    name: str,
    supports: Callable[[ConvShape], str | None] = _any_shape,
    unpack: Unpack = _nothing,
    needs: tuple[str, ...] = (),
    *,
    library: str = USER,
    passes: tuple[str, ...] | None = None,
    like: str | None = None,
    algorithm: Algorithm = "direct",
    dtypes: tuple[Dtype, ...] = ("f32",),
    takes: tuple[Property, ...] = (),
    rounding: Callable[[ConvShape], float] = _as_a_sum,
) -> Callable[[Bind], Kernel]:
    """Decorator that registers a bind function under `name`, `<device>.<operator>.<variant>`.

    `supports`, `unpack`, `needs`, `takes` and `rounding` are those of `Kernel`; the others are declared, and stored
    with what is measured:

    * `library`: whose code computes; "user" unless said.
    * `passes`: the operators that go over memory one after the other. By default those that the operator is made of, so two
      for separable; ("separable",) for one that never writes the intermediate map.
    * `like`: of a separable kernel, the variant of standard that it is compared with; its own unless said.
    * `algorithm`: "direct", "im2col", "winograd", or "chosen" by the library.
    * `dtypes`: of the shapes it takes, of "f32", "tf32", "bf16" and "fp16". Of those of two bytes it brings maps and weights
      into that form itself (`sepconv_bench.model.dtypes.stored`), and what it gives out of it.

    KernelError for a name that does not fit or is taken, for what cannot be called, and for passes that do not make up the
    operator.
    """
    declaration = _declared(name, library, passes, like, algorithm, dtypes)
    for what, given in (("supports", supports), ("unpack", unpack), ("rounding", rounding)):
        if not callable(given):
            raise KernelError(f"{what} of {name} is a {type(given).__name__}; it must be a function")
    if not isinstance(needs, tuple) or not all(isinstance(module, str) for module in needs):
        raise KernelError(f"needs of {name} is a {type(needs).__name__}; it must be a tuple of names of modules")
    if not isinstance(takes, tuple) or not all(one in PROPERTIES for one in takes):
        raise KernelError(f"takes of {name} is {takes!r}; it must be a tuple of {', '.join(PROPERTIES)}")

    def register(bind: Bind) -> Kernel:
        if not callable(bind):
            raise KernelError(f"what is registered as {name} is a {type(bind).__name__}; it must be a function that binds")
        if name in _kernels:
            raise KernelError(f"a kernel named {name!r} is registered already; choose another variant")
        _kernels[name] = Kernel(declaration, bind, supports, unpack, needs, takes, rounding)
        return _kernels[name]

    return register


def _declared(name: object, library: object, passes: object, like: object, algorithm: object, dtypes: object) -> Declaration:
    """The one place where a name is taken apart: what it says becomes what the kernel declares."""
    parts = _NAME.fullmatch(name) if isinstance(name, str) else None
    if parts is None or parts[1] not in DEVICES or parts[2] not in OPERATORS:
        *others, last = OPERATORS
        raise KernelError(
            f"{name!r} cannot name a kernel; a name is <device>.<operator>.<variant> with device {' or '.join(DEVICES)}"
            f" and operator {', '.join(others)} or {last}"
        )
    device, operator, variant = parts.groups()
    possible = {OPERATORS[operator].passes, (operator,)}
    chosen = OPERATORS[operator].passes if passes is None else passes
    if not isinstance(chosen, tuple) or chosen not in possible:
        allowed = " or ".join(str(each) for each in sorted(possible, key=len))
        raise KernelError(f"passes of {name} are {passes!r}; {operator} is computed in {allowed}")
    facts = {
        **{"device": device, "operator": operator, "variant": variant, "library": library},
        **{"passes": chosen, "like": variant if like is None else like, "algorithm": algorithm},
        "dtypes": dtypes,
    }
    try:
        return msgspec.convert(facts, Declaration)
    except msgspec.ValidationError as error:
        raise KernelError(f"what {name} declares does not fit: {error}") from error


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # the package around it is not there, or the name is none
        return False


def _load() -> None:
    global _loaded
    if _loaded:
        return
    _loaded = True  # a module that is loaded may itself list the kernels
    try:
        for module in _BUILT_IN:
            with _all_or_nothing():
                importlib.import_module(module)
        _in_order()
        for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
            with _all_or_nothing(f"entry point {entry.name} = {entry.value}"):
                entry.load()
    except BaseException:
        _loaded = False  # the next caller gets the error, too
        raise


def _in_order() -> None:
    """Rungs as they follow each other, whichever of their modules somebody had imported before."""
    rank = {module: number for number, module in enumerate(_BUILT_IN)}
    known = sorted(_kernels.values(), key=lambda one: rank.get(getattr(one.bind, "__module__", ""), len(rank)))
    _kernels.clear()
    _kernels.update({one.name: one for one in known})


@contextmanager
def _all_or_nothing(whose: str = "") -> Iterator[None]:
    """What fails half way leaves no kernel behind. Of somebody else's code, whatever it raises is a KernelError."""
    before = dict(_kernels)
    try:
        yield
    except BaseException as error:
        _kernels.clear()
        _kernels.update(before)
        if not whose or isinstance(error, KeyboardInterrupt):
            raise
        raise KernelError(f"{whose} does not load: {_first_line(error)}") from error


def load_plugin(path: str | Path) -> list[str]:
    """Run a Python file that registers kernels; gives their names. KernelError says what went wrong in it, and leaves none."""
    _load()
    file = Path(path)
    if not file.is_file():
        raise KernelError(f"there is no plug-in file {str(path)!r}")
    module_name = f"sepconv_bench_plugin_{file.stem}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None:
        raise KernelError(f"{str(path)!r} is not a Python file; a plug-in is a .py file that registers kernels")
    module = importlib.util.module_from_spec(spec)
    before, module_before = set(_kernels), sys.modules.get(module_name)
    sys.modules[module_name] = module
    try:
        with _all_or_nothing(f"plug-in {str(path)!r}"):
            spec.loader.exec_module(module)
    except BaseException:
        if module_before is None:
            del sys.modules[module_name]
        else:
            sys.modules[module_name] = module_before
        raise
    names = [name for name in _kernels if name not in before]
    if not names:
        raise KernelError(
            f"plug-in {str(path)!r} registers no kernel; decorate a bind function with @sepconv_bench.kernel(name)"
        )
    return names


def _first_line(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # somebody else's exception, somebody else's __str__
        text = "its message cannot be read"
    return f"{type(error).__name__}: {text}".splitlines()[0]


def get_kernel(name: str) -> Kernel:
    """The kernel of that name; KernelError lists those there are."""
    _load()
    if not isinstance(name, str) or name not in _kernels:
        raise KernelError(f"no kernel is named {name!r}; there are {', '.join(_kernels)}")
    return _kernels[name]


def kernel_names(operator: str | None = None, device: str | None = None, missing: bool = False) -> list[str]:
    """Names of the kernels that can run here, built-in ones first, of one operator or one device if given.

    With `missing` also those whose library is not installed.
    """
    _load()
    for what, value, valid in (("operator", operator, OPERATORS), ("device", device, DEVICES)):
        if value is not None and not (isinstance(value, str) and value in valid):
            raise KernelError(f"no {what} is named {value!r}; there are {', '.join(valid)}")
    return [
        kernel.name
        for kernel in _kernels.values()
        if operator in (None, kernel.operator.name) and device in (None, kernel.device) and (missing or kernel.missing is None)
    ]


def libraries() -> list[str]:
    """Packages that kernels need beside this one, each the one that brings the others."""
    return list(dict.fromkeys(_kernels[name].needs[0] for name in kernel_names(missing=True) if _kernels[name].needs))


def select(patterns: str | Sequence[str]) -> list[str]:
    """Names that match any of the patterns, as 'cpu.*.parallel,cpu.*.numpy', of kernels that can run here.

    KernelError for a pattern that matches none, or only kernels whose library is not installed.
    """
    names = kernel_names()
    wanted = [p.strip() for p in (patterns.split(",") if isinstance(patterns, str) else patterns)]
    for pattern in wanted:
        if any(fnmatchcase(name, pattern) for name in names):
            continue
        for name in kernel_names(missing=True):
            if fnmatchcase(name, pattern):
                raise KernelError(
                    f"{pattern!r} matches only kernels that cannot run here; {name} is {get_kernel(name).missing}"
                )
        raise KernelError(f"no kernel matches {pattern!r}; there are {', '.join(names)}")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in wanted)]


def chosen(patterns: str | None, device: str) -> list[str]:
    """The kernels of one device that can run here: all, or those that match. KernelError where there are none."""
    if device == "cuda" and (reason := gpu.missing()) is not None:
        raise KernelError(f"CUDA kernels are {reason}")
    if not patterns:
        return kernel_names(device=device)
    names = select(patterns)
    elsewhere = [name for name in names if get_kernel(name).device != device]
    if elsewhere:
        raise KernelError(f"{elsewhere[0]} is no kernel of {device}; one run is of one device, --device cpu or --device cuda")
    return names
