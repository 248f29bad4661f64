"""Named grids of shapes, the tables of the networks that some of them are made of, and grids of a user's own."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sepconv_bench.errors import ShapeError
from sepconv_bench.model.shapes import AXES, FIELDS, GENERAL, PADDING, ConvShape, whole

MAX_CELLS = 100_000


@dataclass(frozen=True)
class Grid:
    """A named set of shapes and what measuring them shows. `cell_seconds` is the time one cell may take."""

    name: str
    shows: str
    shapes: tuple[ConvShape, ...]
    cell_seconds: float = 5.0


CENTRE = ConvShape(D_K=3, M=64, N=64, D_G=28)


def cross(**axes: Iterable[int]) -> tuple[ConvShape, ...]:
    """Every combination of the given axes, of FIELDS, the others as at the centre; ShapeError beyond 100,000 cells."""
    values = [tuple(axes.get(axis, (getattr(CENTRE, axis),))) for axis in FIELDS]
    cells = 1
    for value in values:
        cells *= len(value)
    if cells > MAX_CELLS:
        raise ShapeError(f"the grid has {cells:,} cells; at most {MAX_CELLS:,} fit into one run")
    return tuple(dict.fromkeys(ConvShape(*sizes) for sizes in itertools.product(*values)))


def _star_and_cross() -> tuple[ConvShape, ...]:
    star = [
        *cross(D_K=(1, 3, 5, 7)),
        *cross(M=(16, 32, 64, 128, 256)),
        *cross(N=(8, 16, 32, 64, 128, 256)),
        *cross(D_G=(7, 14, 28, 56, 112)),
    ]
    return tuple(dict.fromkeys([CENTRE, *star, *cross(D_K=(3, 5, 7), N=(16, 64, 128))]))


# (stride, M, N, D_G) of the 13 depthwise/pointwise blocks at width 1 and resolution 224: Table 1 of the paper,
# with the last depthwise at stride 1 as in the reference code (the table prints s2 on a 7 x 7 map).
MOBILENET_V1 = (
    (1, 32, 64, 112),
    (2, 64, 128, 56),
    (1, 128, 128, 56),
    (2, 128, 256, 28),
    (1, 256, 256, 28),
    (2, 256, 512, 14),
    *[(1, 512, 512, 14)] * 5,
    (2, 512, 1024, 7),
    (1, 1024, 1024, 7),
)

# (D_K, stride, M, N, D_G) of the convolutions of 3 x 3 and up, in order, at resolution 224.
# VGG-16: configuration D of arXiv 1409.1556, table 1.
VGG_16 = (
    *((3, 1, 3, 64, 224), (3, 1, 64, 64, 224)),
    *((3, 1, 64, 128, 112), (3, 1, 128, 128, 112)),
    *((3, 1, 128, 256, 56), *[(3, 1, 256, 256, 56)] * 2),
    *((3, 1, 256, 512, 28), *[(3, 1, 512, 512, 28)] * 2),
    *[(3, 1, 512, 512, 14)] * 3,
)
# Inception-V1 (GoogLeNet): table 1 of arXiv 1409.4842; of each module the 3 x 3 and the 5 x 5 after their reductions.
INCEPTION_V1 = (
    *((7, 2, 3, 64, 112), (3, 1, 64, 192, 56)),
    *((3, 1, 96, 128, 28), (5, 1, 16, 32, 28), (3, 1, 128, 192, 28), (5, 1, 32, 96, 28)),
    *((3, 1, 96, 208, 14), (5, 1, 16, 48, 14), (3, 1, 112, 224, 14), (5, 1, 24, 64, 14)),
    *((3, 1, 128, 256, 14), (5, 1, 24, 64, 14), (3, 1, 144, 288, 14), (5, 1, 32, 64, 14)),
    *((3, 1, 160, 320, 14), (5, 1, 32, 128, 14)),
    *((3, 1, 160, 320, 7), (5, 1, 32, 128, 7), (3, 1, 192, 384, 7), (5, 1, 48, 128, 7)),
)


def _distinct(table: Iterable[tuple[int, int, int, int, int]]) -> tuple[ConvShape, ...]:
    return tuple(dict.fromkeys(ConvShape(D_K, M, N, D_G, stride) for D_K, stride, M, N, D_G in table))


# Layers as real models have them, one or two for each thing that the paper's shapes have not.
_LAYERS = (
    # ResNet-50 (arXiv 1512.03385, table 1), padded as torch and as TensorFlow pad it.
    ConvShape.of_input(3, 64, 64, 56, padding="same"),
    ConvShape.of_input(3, 128, 128, 56, 2, "same-torch"),
    ConvShape.of_input(3, 128, 128, 56, 2, "same"),
    # A street scene, twice as wide as high, at an eighth of 1024 x 2048.
    ConvShape.of_input(3, 32, 64, (128, 256), padding="same"),
    # The atrous convolutions of DeepLab-V3 (arXiv 1706.05587, section 3.3), after MobileNet-V2.
    ConvShape.of_input(3, 320, 256, 33, padding="same", dilation=6),
    ConvShape.of_input(3, 320, 256, 33, padding="same", dilation=12),
    # ResNeXt-50 32x4d (arXiv 1611.05431, table 1).
    ConvShape.of_input(3, 128, 128, 56, padding="same", groups=32),
    # EEGNet-8,2 (arXiv 1611.08024, table 2): two spatial filters for each temporal one, over all 64 electrodes.
    ConvShape.of_input((64, 1), 8, 16, (64, 128), multiplier=2),
    # Inception-V3 (arXiv 1512.00567, figure 6): 7 x 7 as 1 x 7 and 7 x 1.
    ConvShape.of_input((1, 7), 192, 192, 17, padding="same"),
    ConvShape.of_input((7, 1), 192, 192, 17, padding="same"),
    # A reader of text lines, which keeps the width of its map and halves the height.
    ConvShape.of_input(3, 72, 24, (8, 160), (2, 1), "same-torch"),
)

_GRIDS = (
    Grid(
        "smoke",
        "that everything works: three small shapes, a few seconds; too short for a figure to believe",
        (ConvShape(3, 16, 16, 14), ConvShape(3, 16, 64, 14), ConvShape(5, 16, 64, 14)),
        cell_seconds=1.0,
    ),
    Grid(
        "default",
        "how the speedup moves with each of D_K, M, N and D_G away from one centre, and how D_K and N interact",
        _star_and_cross(),
    ),
    Grid(
        "full",
        "the dense cross: where in D_K, M, N and D_G the formula holds and where it does not",
        cross(D_K=(1, 3, 5, 7), M=(16, 64, 256), N=(16, 64, 256), D_G=(7, 14, 28, 56)),
    ),
    Grid(
        "mobilenet",
        "the 13 separable blocks of MobileNet-V1 (9 distinct shapes): what the formula buys a real network",
        tuple(dict.fromkeys(ConvShape(3, M, N, D_G, stride) for stride, M, N, D_G in MOBILENET_V1)),
    ),
    Grid(
        "vgg16",
        "the 13 convolutions of VGG-16 (9 distinct shapes): what separable ones would buy where all are wide and 3 x 3",
        _distinct(VGG_16),
    ),
    Grid(
        "inception",
        "the 3 x 3 and larger convolutions of Inception-V1 (19 distinct shapes), after their 1 x 1 reductions",
        _distinct(INCEPTION_V1),
    ),
    Grid(
        "layers",
        "layers of real models beyond the paper's shapes: padded, rectangular, dilated, grouped, with channel multipliers",
        _LAYERS,
    ),
    Grid(
        "gpu",
        "what a GPU needs to be full: batches of 1, 8 and 32 over map sizes up to 224, and wide layers",
        tuple(
            dict.fromkeys(
                [
                    *cross(M=(64,), N=(128,), D_G=(14, 28, 56, 112, 224), batch=(1, 8, 32)),
                    *cross(D_K=(3, 5, 7), M=(128,), N=(128,), D_G=(28,), batch=(8,)),
                    *cross(M=(32, 256, 512), N=(32, 64, 512), D_G=(14,), batch=(32,)),
                ]
            )
        ),
    ),
    Grid(
        "tracked",
        "the two ends of MobileNet-V1, followed over commits: a large map of few channels, a small one of many",
        (ConvShape(3, 32, 64, 112), ConvShape(3, 512, 512, 14)),
    ),
)
GRIDS: Mapping[str, Grid] = {grid.name: grid for grid in _GRIDS}


NETWORK_GRIDS = ("mobilenet", "vgg16", "inception")


def network_shapes(name: str) -> tuple[ConvShape, ...]:
    """The layers of a network of NETWORK_GRIDS that could be standard or separable, in order, each as often as it comes."""
    if name == "mobilenet":
        return tuple(ConvShape(3, M, N, D_G, stride) for stride, M, N, D_G in MOBILENET_V1)
    table = {"vgg16": VGG_16, "inception": INCEPTION_V1}[name]
    return tuple(ConvShape(D_K, M, N, D_G, stride) for D_K, stride, M, N, D_G in table)


def get_grid(name: str) -> Grid:
    """The named grid; ShapeError lists the names there are."""
    if name not in GRIDS:
        raise ShapeError(f"no grid is named {name!r}; there are {', '.join(GRIDS)}")
    return GRIDS[name]


def in_dtypes(grid: Grid, text: str) -> Grid:
    """The shapes of a grid in each of the dtypes that `text` lists, as "f32,bf16". ShapeError for what is none."""
    dtypes: list[Any] = [word.strip() for word in text.split(",")]
    shapes = [replace(shape, dtype=dtype) for dtype in dtypes for shape in grid.shapes]
    return replace(grid, shapes=tuple(dict.fromkeys(shapes)))


_AXIS_FORMS = "a list as 3,5,7, or first:last:xFACTOR as 16:512:x2, or first:last:+STEP as 14:56:+14"


def parse_axis(name: str, text: str) -> tuple[int, ...]:
    """The sizes that `text` spells: "3,5,7", "16:512:x2" (times 2) or "14:56:+14"; the last size is included."""
    values: list[int] = []
    for part in text.split(","):
        span = re.fullmatch(r"\s*(\d{1,10}):(\d{1,10}):([x+])(\d{1,10})\s*", part)
        if span is None:
            size = re.fullmatch(r"\s*(\d{1,10})\s*", part)
            if size is None:
                raise ShapeError(f"--{name} {text!r} is not understood; it takes {_AXIS_FORMS}")
            values.append(whole(name, int(size[1])))
            continue
        first, last, step = whole(name, int(span[1])), whole(name, int(span[2])), int(span[4])
        if last < first or step < (2 if span[3] == "x" else 1):
            raise ShapeError(f"--{name} {text!r} does not lead from its first to its last size; it takes {_AXIS_FORMS}")
        value = first
        while value <= last:
            values.append(value)
            if len(values) > MAX_CELLS:
                raise ShapeError(f"--{name} {text!r} names over {MAX_CELLS:,} sizes; at most that many cells fit into one run")
            value = value * step if span[3] == "x" else value + step
    return tuple(dict.fromkeys(values))


SPELLED = (
    *AXES,
    *(name for name in GENERAL if name not in PADDING),
)  # what a grid of the user's own is spelled by, and padding


def grid_from_axes(axes: Mapping[str, str]) -> Grid:
    """A grid of the user's own: the cross of the axes given as text, the others as at the centre; all with the same `padding`,
    which is said as `ConvShape.with_padding` takes it."""
    shapes = cross(**{name: parse_axis(name, axes[name]) for name in SPELLED if name in axes})
    if "padding" in axes:
        shapes = tuple(dict.fromkeys(shape.with_padding(axes["padding"]) for shape in shapes))
    return Grid("custom", "the cross of the sizes given on the command line", shapes)
