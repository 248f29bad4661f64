"""A photograph as the network takes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sepconv_bench.errors import InputError

_MARGIN = 256 / 224  # what is left around the middle that the network sees, as at training


def read_image(path: Path, resolution: int) -> np.ndarray:
    """The middle of a picture, (1, resolution, resolution, 3) from -1 to 1; InputError for a file that Pillow cannot read."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGB")
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # what its parsers raise
        raise InputError(f"{path} cannot be read as a picture: {error}") from error
    margin = (_MARGIN - 1) / 2 / _MARGIN
    wide = ImageOps.fit(picture, (resolution, resolution), Image.Resampling.BILINEAR, bleed=margin)
    return np.asarray(wide, np.float32)[np.newaxis] / np.float32(127.5) - 1
