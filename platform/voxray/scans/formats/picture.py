"""JPEG and PNG pictures: one z, and the identity as affine. x runs along a line of the picture, y from line to line."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, UnidentifiedImageError

from voxray.errors import ScanError
from voxray.scans.formats.base import FileHeader, Format, header_of
from voxray.storage.paths import AnyPath, as_file, read_start
from voxray.volume import Volume

PNG_START = 26
# Modes of Pillow that hold one channel of more than 8 bits.
DEEP = {"I": "int32", "F": "float32", "I;16": "<u2", "I;16L": "<u2", "I;16B": ">u2"}


@contextmanager
def _opened(path: AnyPath) -> Iterator[Image.Image]:
    """A picture whose numbers Pillow keeps as they are; ScanError for others."""
    try:
        with Image.open(as_file(path)) as picture:
            frames = getattr(picture, "n_frames", 1)
            if frames > 1:
                raise ScanError(str(path), f"holds {frames} pictures, expected one", "Give each a file")
            if picture.format == "PNG" and _is_deep_color(read_start(path, PNG_START)):
                problem = "has 16 bits a color, which would be reduced to 8"
                raise ScanError(str(path), problem, "Convert it to 8 bits, or each color to a gray picture")
            yield picture
    except UnidentifiedImageError:
        raise ScanError(str(path), "not a picture", "Fetch the file again") from None


def _is_deep_color(start: bytes) -> bool:
    bits, kind = start[24:26]  # of the first chunk
    return bits == 16 and kind != 0


def _read(path: AnyPath) -> Volume:
    with _opened(path) as picture:
        mode = picture.mode
        gray = "L" if mode in ("1", "LA") else "RGB"
        pixels = np.asarray(picture if mode in ("L", *DEEP) else picture.convert(gray))
    if pixels.ndim == 3 and mode == "P" and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., 0]  # a palette of grays
    channels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return Volume(channels.transpose(0, 2, 1)[..., None], np.eye(4))


def _read_header(path: AnyPath) -> FileHeader:
    with _opened(path) as picture:
        mode, (width, height) = picture.mode, picture.size
    if mode == "P":  # its palette may hold grays or colors
        return header_of(_read(path), path)
    channels = 1 if mode in ("1", "L", "LA", *DEEP) else 3
    return FileHeader(channels, (width, height, 1), np.dtype(DEEP.get(mode, "uint8")), np.eye(4), (path,))


PICTURE = Format("picture", (".jpg", ".jpeg", ".png"), _read, _read_header, oriented=False)
