"""One door to every file format: `open_scan` gives a Volume whose voxels are read as far as they are used."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK
from isal import igzip
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from voxray.errors import ScanError, WorkError
from voxray.scans.formats.channels import channel_files, join_channels
from voxray.scans.formats.dicom.series import is_dicom, open_series
from voxray.scans.formats.metaimage import fetch_metaimage, inflate_metaimage, map_metaimage, read_metaimage_header
from voxray.scans.formats.nifti import read_nifti, split_channels
from voxray.scans.formats.npz import is_npz_row, open_npz_row
from voxray.scans.geometry import canonical_volume, check_affine, lps_affine
from voxray.storage.paths import AnyPath, as_file, local_copy, storage_errors
from voxray.volume import PatchBox, Volume


def open_scan(path: AnyPath, *, by_regions: bool = False) -> Volume:
    """Open a scan in canonical axes.

    An uncompressed MetaImage is memory-mapped, so that a region costs its own bytes only; every other format
    is decoded whole, once. In object storage such a MetaImage is fetched whole too, unless `by_regions` says that
    `fetch_regions` will name what is wanted before it is looked at; what it does not name reads as zeros.

    Parameters
    ----------
    path : Place
        ``.mhd``, ``.mha``, ``.nii``, ``.nii.gz``, ``.nrrd``, ``.jpg``, ``.jpeg`` or ``.png``; or an image of a stack,
        ``FILE.npz/MEMBER/ROW``; or files that are the channels of one scan, ``a_{t1,t2}.nii``; or a DICOM series,
        by its folder or one of its files.

    Returns
    -------
    Volume
        (channel, x, y, z) in the scan's own numbers. Pictures have one z and the identity as affine;
        x runs along a line of the picture and y from line to line.

    Raises
    ------
    ScanError
        With the reason why this scan cannot be used.
    """
    if path.name.lower().endswith(PICTURES):
        return open_file(path)
    volume = open_file(path, by_regions=by_regions)
    return replace(canonical_volume(volume.array, volume.affine), fetch=volume.fetch)


def open_file(path: AnyPath, *, by_regions: bool = False) -> Volume:
    """Open a scan as `open_scan` does, but in the axes of its file.

    Returns
    -------
    Volume
        (channel, i, j, k), with the affine of these axes.

    Raises
    ------
    ScanError
    """
    files = channel_files(path)
    if len(files) > 1:
        return join_channels([open_file(file) for file in files], [file.name for file in files], str(path))
    with storage_errors(path):
        opener = _opener(path)
        if opener is None and not path.exists():
            raise ScanError(str(path), "no such file", "Check the list and the folder")
    if opener is None:
        raise ScanError(str(path), f"unknown kind of file '{path.suffix}'", f"Known: {', '.join(OPENERS)}")
    with as_scan_errors(path):
        volume = opener(path)
        if volume.fetch is not None and not by_regions:
            volume.fetch([volume.array])
            volume = replace(volume, fetch=None)
    check_affine(volume.affine, str(path))
    return volume


@contextmanager
def as_scan_errors(path: AnyPath) -> Iterator[None]:
    """Turn whatever is raised while a file is read into ScanError; storage that fails is no fault of a scan's."""
    try:
        yield
    except FileNotFoundError:
        raise ScanError(str(path), "no such file", "Check the list and the folder") from None
    except (ScanError, WorkError):
        raise
    except Exception as error:  # noqa: BLE001  decoders raise whatever they like; no file may stop the others
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise ScanError(str(path), f"cannot be read: {reason}", "Fetch the file again") from None


@contextmanager
def copied(path: AnyPath) -> Iterator[Path]:
    """A scan's file or folder on a disk, for what reads nothing else; errors name its own place."""
    with local_copy(path) as copy:
        try:
            with as_scan_errors(copy):
                yield copy
        except ScanError as error:
            raise type(error)(*(text.replace(str(copy), str(path)) for text in error.args)) from None


@contextmanager
def copied_series(path: AnyPath) -> Iterator[Path]:
    """The same for a DICOM series, whose files lie beside the one that is named."""
    folder = path if path.is_dir() else path.parent
    with copied(folder) as copy:
        yield copy if folder == path else copy / path.name


def fetch_regions(volume: Volume, boxes: Sequence[PatchBox]) -> None:
    """Bring boxes of a volume into memory, all at once, where it was opened by regions from object storage."""
    if volume.fetch is not None:
        volume.fetch([volume.array[(slice(None), *_inside(volume, box))] for box in boxes])


def _inside(volume: Volume, box: PatchBox) -> list[slice]:
    """The part of a box that lies in a volume."""
    ends = [(start, start + size) for start, size in zip(box.start, box.size, strict=True)]
    return [
        slice(min(max(low, 0), extent), max(min(high, extent), 0))
        for (low, high), extent in zip(ends, volume.shape, strict=True)
    ]


def read_region(volume: Volume, box: PatchBox, pad_value: float) -> NDArray[np.generic]:
    """Copy a box out of a volume; what lies outside the volume becomes `fill`.

    Returns
    -------
    ndarray, (channel, x, y, z), contiguous, dtype of the volume
    """
    spans = _inside(volume, box)
    inside = volume.array[(slice(None), *spans)]
    if inside.shape[1:] == box.size:
        return np.ascontiguousarray(inside)
    region = np.full((inside.shape[0], *box.size), pad_value, inside.dtype)
    places = (slice(span.start - low, span.stop - low) for span, low in zip(spans, box.start, strict=True))
    region[(slice(None), *places)] = inside
    return region


def _opener(path: AnyPath) -> Callable[[AnyPath], Volume] | None:
    if is_npz_row(path):
        return open_npz_row
    name = path.name.lower()
    known = next((function for suffix, function in OPENERS.items() if name.endswith(suffix)), None)
    # Files of a DICOM series often have no suffix, or numbers that look like one.
    return _open_dicom if known is None and is_dicom(path) else known


def _open_metaimage(path: AnyPath) -> Volume:
    header = read_metaimage_header(path)
    file = header.data_path
    if not header.compressed and isinstance(file, Path):
        return Volume(map_metaimage(header, file, str(path)), header.affine)
    if not header.compressed and not isinstance(file, Path):
        voxels, fetch = fetch_metaimage(header, file, str(path))
        return Volume(voxels, header.affine, fetch)
    return Volume(inflate_metaimage(header, str(path)), header.affine)


def _open_nrrd(path: AnyPath) -> Volume:
    with copied(path) as file:
        # ITK takes a damaged gzip stream for what it is not; its checksum is looked at here.
        header, _, data = file.read_bytes().partition(b"\n\n")
        if b"encoding: gz" in header and data:
            igzip.decompress(data)
        return _open_with_itk(file)


def _open_dicom(path: AnyPath) -> Volume:
    with copied_series(path) as copy:
        return open_series(copy)


def _open_with_itk(path: Path) -> Volume:
    image = SimpleITK.ReadImage(str(path))
    if image.GetDimension() != 3:
        raise ScanError(str(path), f"wants three dimensions, got {image.GetDimension()}", "Write it as a volume")
    origin, spacing = np.array(image.GetOrigin()), np.array(image.GetSpacing())
    affine = lps_affine(origin, np.array(image.GetDirection()).reshape(3, 3), spacing)
    # A copy: a view of a SimpleITK image dangles as soon as the image is gone.
    array = SimpleITK.GetArrayFromImage(image)
    channels_last = array if array.ndim == 4 else array[..., None]
    return Volume(channels_last.transpose(3, 2, 1, 0), affine)


def _open_nifti(path: AnyPath) -> Volume:
    packed = path.name.lower().endswith(".gz")
    voxels, affine = _plain_nifti(path) if isinstance(path, Path) and not packed else read_nifti(path)
    channels, shape = split_channels(voxels.shape, str(path))
    return Volume(voxels.reshape(*shape, channels).transpose(3, 0, 1, 2), affine)


def _plain_nifti(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    image: Any = nibabel.load(path)
    proxy = image.dataobj
    # Only a scan with a scale factor turns to float; every other keeps the numbers of its file.
    voxels = proxy.get_unscaled() if (proxy.slope, proxy.inter) == (1, 0) else np.asarray(proxy, np.float32)
    return voxels, np.asarray(image.affine, np.float64)


def _open_picture(path: AnyPath) -> Volume:
    try:
        with Image.open(as_file(path)) as picture:
            plain = picture if picture.mode in GRAY else picture.convert("L" if picture.mode in ("1", "LA") else "RGB")
            pixels = np.asarray(plain)
    except UnidentifiedImageError:
        raise ScanError(str(path), "is no picture", "Fetch the file again") from None
    if pixels.ndim == 3 and picture.mode == "P" and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., 0]  # a palette of greys
    channels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return Volume(channels.transpose(0, 2, 1)[..., None], np.eye(4))


GRAY = ("L", "I", "F", "I;16", "I;16L", "I;16B")
PICTURES = (".jpg", ".jpeg", ".png")
OPENERS: dict[str, Callable[[AnyPath], Volume]] = {
    ".mhd": _open_metaimage,
    ".mha": _open_metaimage,
    ".nii": _open_nifti,
    ".nii.gz": _open_nifti,
    ".nrrd": _open_nrrd,
    ".jpg": _open_picture,
    ".jpeg": _open_picture,
    ".png": _open_picture,
}
