"""Slices of patches and volumes as 8-bit pictures."""

import io
import re
from pathlib import PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from voxray.config.preprocessing import IntensitySpec
from voxray.loader.normalize import scale_window
from voxray.loader.standardize import clip_percentiles
from voxray.scans.formats.picture import PICTURE
from voxray.scans.intensity import PERCENTILES
from voxray.visualization.data_uri import data_uri

STACKED = re.compile(r"(train|val|test)_images/\d+")
ID_LETTERS = 20
MOST_SLICES = 24


def is_picture(path: str) -> bool:
    """Whether a patch comes from a picture, or an image of a stack (MedMNIST's), which have no patient axes."""
    return PurePosixPath(path.lower()).suffix in PICTURE.suffixes or STACKED.fullmatch(path) is not None


def slice_step(depth: int) -> int:
    """The step between displayed slices of `depth`: 1 for all of them."""
    return -(-depth // MOST_SLICES)


def to_display_range(patches: torch.Tensor, intensity: IntensitySpec) -> torch.Tensor:
    """Patches (n, channel, x, y, z) as gray levels in [0, 1]: of the window, or else between their percentiles."""
    if intensity.kind == "window":
        return scale_window(patches, intensity.windows)
    return clip_percentiles(patches, *PERCENTILES)


def display_slices(scaled: NDArray[np.float32], picture: bool) -> NDArray[np.uint8]:
    """The slices of a patch (channel, x, y, z) in [0, 1] as they are displayed.

    Pictures keep their lines from top to bottom. Scans (RAS) are turned to the radiological view: the patient's right
    on the left and anterior up, so both axes run against the index.

    Returns
    -------
    ndarray, (z, line, column) of the first channel; (channel, line, column) for a scan's patch of one z; or
        (z, line, column, 3) for a picture of three channels
    """
    gray = np.round(255 * scaled).astype(np.uint8)
    slices = gray.transpose(3, 2, 1, 0) if picture else gray[:, ::-1, ::-1].transpose(3, 2, 1, 0)
    if picture and len(scaled) == 3:
        return slices
    return slices[0].transpose(2, 0, 1) if not picture and len(slices) == 1 else slices[..., 0]


def encode_png(pixels: NDArray[np.uint8], longest: int) -> str:
    """A PNG data URI of (line, column[, 3]); larger pictures are reduced to `longest` pixels a side."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((longest, longest))
    sink = io.BytesIO()
    image.save(sink, format="PNG", optimize=True)
    return data_uri("png", sink.getvalue())


def shorten_id(scan_id: str) -> str:
    """The end of a scan's name, at most 20 letters."""
    name = scan_id.rsplit("/", 1)[-1]
    return name if len(name) <= ID_LETTERS else "…" + name[1 - ID_LETTERS :]
