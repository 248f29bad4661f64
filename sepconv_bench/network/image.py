"""A photograph as the network takes it."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from sepconv_bench import files
from sepconv_bench.errors import InputError
from sepconv_bench.kernels.problem import require_memory

# What photographs come in. Pillow knows dozens more, and hands some (EPS) to other programs.
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
_COPIES = 4  # of a picture, while it is turned and its colours are converted
_MARGIN = 256 / 224  # what is left around the middle that the network sees, as at training


def read_image(path: Path, resolution: int) -> np.ndarray:
    """The middle of a picture, (1, resolution, resolution, 3) from -1 to 1; InputError for a file that is no picture."""
    try:
        from PIL import Image, ImageOps
    except ModuleNotFoundError:
        raise InputError(f"to read {path} Pillow is needed: pip install 'sepconv-bench[mobilenet]'") from None

    if not path.is_file():
        raise InputError(f"there is no file {path}")
    files.refuse_pointer(path)
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=_FORMATS) as opened:
            require_memory(_COPIES * 4 * opened.width * opened.height, f"the {opened.width} x {opened.height} pixels of {path}")
            picture = ImageOps.exif_transpose(opened).convert("RGB")
    except InputError:
        raise
    except Exception as error:  # of a broken file its parsers raise whatever comes
        raise InputError(f"{path} cannot be read as a picture: {error}") from error
    margin = (_MARGIN - 1) / 2 / _MARGIN
    wide = ImageOps.fit(picture, (resolution, resolution), Image.Resampling.BILINEAR, bleed=margin)
    return np.asarray(wide, np.float32)[np.newaxis] / np.float32(127.5) - 1
