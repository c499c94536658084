"""What every malformed scan is asked, and what must be true of one that was accepted."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voxray.scans.header import ScanHeader, read_header
from voxray.scans.read import open_scan
from voxray.volume import Volume


@dataclass(frozen=True, eq=False)
class Scan:
    """A scan as it was read, and its header read alone."""

    volume: Volume
    header: ScanHeader


def read_scan(file: str) -> Callable[[Path], Scan]:
    """What reads a file of a folder: its header alone and its voxels."""

    def read(folder: Path) -> Scan:
        return Scan(open_scan(folder / file), read_header(folder / file))

    return read


def check_scan(scan: Scan) -> None:
    """Header and voxels say the same, and the geometry means something."""
    volume, header = scan.volume, scan.header
    assert (header.channels, header.shape) == (len(volume.array), volume.shape)
    assert header.dtype.newbyteorder("=") == volume.array.dtype.newbyteorder("=")
    np.testing.assert_allclose(header.affine, volume.affine)
    assert np.isfinite(volume.affine).all()
    assert 1e-6 < min(volume.spacing_mm) <= max(volume.spacing_mm) < 1e6
    np.asarray(volume.array).sum()  # every voxel can be read
