"""Pictures whose numbers would not stay what they are."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from voxray.errors import ScanError
from voxray.scans.header import read_header
from voxray.scans.read import open_scan


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of_16_bits(pixels: NDArray[np.uint16], kind: int) -> bytes:
    """By the specification, without a library: (row, column, sample)."""
    rows, columns, _ = pixels.shape
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in pixels)
    header = struct.pack(">IIBBBBB", columns, rows, 16, kind, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(("kind", "samples"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_pngs_of_16_bits_keep_their_numbers_or_are_refused(tmp_path: Path, kind: int, samples: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 2**16, (5, 4, samples), dtype=np.uint16)
    path = tmp_path / "a.png"
    path.write_bytes(png_of_16_bits(pixels, kind))
    if kind == 0:
        np.testing.assert_array_equal(open_scan(path).array[0, :, :, 0].T, pixels[..., 0])
        assert read_header(path).dtype == np.uint16
        return
    for read in (open_scan, read_header):
        with pytest.raises(ScanError, match="has 16 bits a color"):
            read(path)


def test_a_picture_of_several_frames_is_refused(tmp_path: Path) -> None:
    first, second = (Image.fromarray(np.full((5, 4), value, np.uint8)) for value in (1, 2))
    first.save(tmp_path / "a.png", save_all=True, append_images=[second])
    with pytest.raises(ScanError, match="holds 2 pictures, expected one"):
        open_scan(tmp_path / "a.png")
