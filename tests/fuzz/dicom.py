"""DICOM series in folders: plain, compressed and multi-frame files, damaged in one of them or all."""

import struct
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from dicom_encoders import encode
from dicom_scenes import enhanced, save, slices, stored_voxels
from fuzzing import FIFO, Case, damage
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array

from voxray.datasets.dicom import find_series, read_dicom
from voxray.errors import ScanError
from voxray.scans.header import read_header
from voxray.scans.read import open_file
from voxray.volume import Volume

COUNT = 5
TINY = 160  # bytes of which nothing says any more that they were DICOM, where they are damaged and cut off
LONG = (b"OB", b"OW", b"SQ", b"UN", b"UT")  # types whose length has four bytes, after two that are reserved
ODD_BYTES = (
    b"",
    b"\0\0",
    b"\xff\xff",
    b"\xff" * 4,
    b"-1",
    b"1e400",
    b"nan ",
    b"\\\\",
    b"a\\b ",
    b"9" * 400,
    b"\x80\x80",
)
ODD_LENGTHS = (0, 1, 3, 0x7FFF, 0xFFFE, 0xFFFF, 0xFFFFFFFE, 0xFFFFFFFF)

Files = dict[str, bytes | None]


def cases(seed: int) -> Iterator[Case]:
    """Named ones; then damaged bytes, edited elements, compressed pixels, multi-frame objects and lists."""
    if seed == 0:
        yield from _named()
    rng = np.random.default_rng(seed)
    for number in range(40):
        yield _one_damaged(f"damaged bytes {number}", series(), rng, damage)
    for number in range(40):
        yield _one_damaged(f"edited element {number}", series(), rng, edit_element)
    for number in range(12):
        syntax = ("RLELossless", "JPEGLSLossless", "JPEG2000Lossless", "JPEGLosslessProcess14_1")[number % 4]
        yield _one_damaged(f"damaged bytes in {syntax} {number}", compressed(syntax), rng, damage, check=_is_whole)
    for number in range(12):
        yield _one_damaged(f"damaged multi-frame object {number}", multi_frame(), rng, damage, check=_is_whole)
    for number in range(8):
        content = damage(b"folder,label\na,well\nb,ill\n", rng)
        yield Case(f"damaged list {number}", {**_two_series(), "labels.csv": content}, read_dicom, lambda _: None)


@cache
def series() -> Mapping[str, bytes]:
    """A CT series of small slices, by file name; no name has a suffix."""
    return _written(slices(stored_voxels(shape=(COUNT, 6, 8))), lambda dataset, path: save(dataset, path))


@cache
def compressed(syntax: str) -> Mapping[str, bytes]:
    return _written(
        slices(stored_voxels(shape=(COUNT, 24, 32))), lambda dataset, path: encode(dataset, path, syntax) and path
    )


@cache
def multi_frame() -> Mapping[str, bytes]:
    return _written([enhanced(stored_voxels(shape=(COUNT, 6, 8)))], lambda dataset, path: save(dataset, path))


def _written(datasets: list[Dataset], write: Callable[[Dataset, Path], Path]) -> Mapping[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        return {f"I{n}": write(each, Path(folder, f"I{n}")).read_bytes() for n, each in enumerate(datasets)}


def _two_series() -> Files:
    files = series().items()
    other = _written(slices(stored_voxels(1, (COUNT, 6, 8))), lambda dataset, path: save(dataset, path)).items()
    return {**{f"a/{name}": data for name, data in files}, **{f"b/{name}": data for name, data in other}}


def _one_damaged(
    name: str,
    files: Mapping[str, bytes],
    rng: np.random.Generator,
    spoil: Callable[[bytes, np.random.Generator], bytes],
    check: Callable[[Volume, Path], None] | None = None,
) -> Case:
    victim = sorted(files)[int(rng.integers(len(files)))]
    spoiled: Files = {f"ct/{key}": spoil(data, rng) if key == victim else data for key, data in files.items()}
    return _case(f"{name}, {victim}", spoiled, check or _is_what_the_files_say)


def _case(name: str, files: Files, check: Callable[[Volume, Path], None] | None) -> Case:
    """A folder `ct` that is listed, and read by header and voxels."""
    if check is None:
        return Case(name, files, lambda folder: _read(folder)[0])
    return Case(name, files, _read, lambda read: check(*read))


def _read(folder: Path) -> tuple[Volume, Path]:
    find_series(folder)
    try:
        header = read_header(folder / "ct")
    except ScanError:
        header = None
    volume = open_file(folder / "ct")
    # What can be read has a header that can be read; the other way round is no promise.
    assert header is not None
    assert sorted(header.shape) == sorted(volume.shape)
    assert header.dtype == volume.array.dtype
    return volume, folder / "ct"


def _is_whole(volume: Volume, folder: Path) -> None:
    """For streams and groups that say nothing of a damaged voxel."""
    assert volume.shape in ((8, 6, COUNT), (32, 24, COUNT))
    assert np.isfinite(volume.array).all()
    assert np.isfinite(volume.affine).all()


def _is_what_the_files_say(volume: Volume, folder: Path) -> None:
    """Each slice by pydicom, in the order of positions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        datasets = [pydicom.dcmread(path, force=True) for path in folder.iterdir()]
        for path, dataset in zip(folder.iterdir(), datasets, strict=True):
            assert "PixelData" in dataset or path.stat().st_size < TINY, f"{path.name} was left out"
        datasets = [dataset for dataset in datasets if "PixelData" in dataset]
        planes = [_plane(dataset) for dataset in datasets]
    assert len(planes) == volume.shape[2]
    normal = np.cross(*np.array(datasets[0].ImageOrientationPatient, float).reshape(2, 3))
    places = np.array([np.array(dataset.ImagePositionPatient, float) for dataset in datasets])
    order = np.argsort(places @ normal)
    np.testing.assert_allclose(volume.array[0], np.stack(planes)[order].transpose(2, 1, 0), rtol=1e-6)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    np.testing.assert_allclose(lps[:3, 3], places[order[0]], atol=1e-6)
    spacing = np.array(datasets[0].PixelSpacing, float)[::-1]
    np.testing.assert_allclose(np.linalg.norm(lps[:3, :2], axis=0), spacing, rtol=2e-3)
    last = lps[:3, 3] + lps[:3, 2] * (len(places) - 1)
    np.testing.assert_allclose(last, places[order[-1]], atol=1e-6)


def _plane(dataset: Dataset) -> Any:
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")[dataset.original_encoding[0]]
    stored = pixel_array(dataset, raw=True).astype(np.float64)
    return stored * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)


def edit_element(data: bytes, rng: np.random.Generator) -> bytes:
    """One element of an explicit little endian file dropped, repeated, or with another value, length, type or tag."""
    start, end, head = list(_elements(data))[int(rng.integers(sum(1 for _ in _elements(data))))]
    element, value = data[start:end], data[start + head : end]
    action = rng.choice(["drop", "repeat", "value", "value", "value", "length", "type", "tag"])
    if action == "drop":
        return data[:start] + data[end:]
    if action == "repeat":
        return data[:end] + element + data[end:]
    if action == "value":
        value = ODD_BYTES[int(rng.integers(len(ODD_BYTES)))]
        return data[:start] + _element(element[:4], element[4:6], value, len(value)) + data[end:]
    if action == "length":
        length = ODD_LENGTHS[int(rng.integers(len(ODD_LENGTHS)))]
        return data[:start] + _element(element[:4], element[4:6], value, length) + data[end:]
    if action == "type":
        type_ = (b"SQ", b"UN", b"DS", b"US", b"??", b"OB", b"PN")[int(rng.integers(7))]
        return data[:start] + _element(element[:4], type_, value, len(value)) + data[end:]
    return data[:start] + rng.bytes(4) + data[start + 4 :]


def _elements(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Start, end, and bytes before the value of each element."""
    at = 132
    while at < len(data):
        head = 12 if data[at + 4 : at + 6] in LONG else 8
        (length,) = struct.unpack_from("<I" if head == 12 else "<H", data, at + (8 if head == 12 else 6))
        yield at, at + head + length, head
        at += head + length


def _element(tag: bytes, kind: bytes, value: bytes, length: int) -> bytes:
    if kind in LONG:
        return tag + kind + struct.pack("<HI", 0, length) + value
    return tag + kind + struct.pack("<H", length & 0xFFFF) + value


def _changed(name: str, change: Callable[[Dataset], Any], *, all_slices: bool = False) -> Case:
    """The last slice, or all slices, with a change that makes it wrong."""
    datasets = slices(stored_voxels(shape=(COUNT, 6, 8)))
    for dataset in datasets if all_slices else datasets[-1:]:
        change(dataset)
    written = _written(datasets, lambda dataset, path: save(dataset, path))
    return _case(name, {f"ct/{key}": data for key, data in written.items()}, None)


def _with_file(name: str, content: bytes | None) -> Case:
    """A series and one file more."""
    return _case(name, {**{f"ct/{key}": data for key, data in series().items()}, "ct/more": content}, None)


def _named() -> Iterator[Case]:
    required = (
        *("SeriesInstanceUID", "Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation", "PixelData"),
        *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"),
        *("SamplesPerPixel", "PhotometricInterpretation"),
    )
    for keyword in required:
        yield _changed(f"no {keyword}", lambda dataset, keyword=keyword: delattr(dataset, keyword))
        yield _changed(f"an empty {keyword}", lambda dataset, keyword=keyword: setattr(dataset, keyword, None))
    for keyword, value in (
        *(("Rows", 65535), ("Columns", 65535), ("Rows", 5), ("Columns", 7), ("NumberOfFrames", 2**31 - 1)),
        *(("NumberOfFrames", -1), ("NumberOfFrames", 2), ("BitsAllocated", 64), ("BitsStored", 0), ("HighBit", 0)),
        *(("SamplesPerPixel", 3), ("PixelSpacing", [0, 0]), ("PixelSpacing", ["1e400", "1"]), ("RescaleSlope", 0)),
        *(("RescaleSlope", "1e308"), ("SOPClassUID", "1.2.3"), ("PhotometricInterpretation", "MONOCHROME")),
        *(("ImagePositionPatient", ["1e308"] * 3), ("ImageOrientationPatient", [0] * 6), ("SliceThickness", "nan")),
    ):
        change = lambda dataset, keyword=keyword, value=value: setattr(dataset, keyword, value)  # noqa: E731
        yield _changed(f"{keyword} of {value}", change)
        yield _changed(f"{keyword} of {value} in all slices", change, all_slices=True)
    start = series()["I0"]
    yield _with_file("an empty file", b"")
    yield _with_file("zeros in place of a slice", bytes(len(start)))
    yield _with_file("a slice twice", start)
    yield _with_file("a mark and nothing else", start[:132])
    yield _with_file("the first group and nothing else", start[:300])
    yield _with_file("a damaged mark", start[:128] + b"DICN" + start[132:])
    yield _with_file("no preamble, cut off", start[132:400])
    yield _case("a FIFO in place of the folder", {"ct": FIFO}, None)
    yield _case("a file of another kind in place of the folder", {"ct": b"\x89PNG\r\n" * 100}, None)
    undefined = struct.pack("<I", 0xFFFFFFFF)
    nested = (b"\x08\x00\x40\x11SQ\0\0" + undefined + b"\xfe\xff\x00\xe0" + undefined) * 5000
    yield _with_file("sequences nested 5,000 deep", start[: start.index(b"\x08\x00\x60\x00CS")] + nested)
    yield _case("one picture of 16 slices", {"ct/I0": _mosaic()}, None)


def _mosaic() -> bytes:
    dataset = slices(stored_voxels(shape=(1, 24, 32)), ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"])
    return _written(dataset, lambda each, path: save(each, path))["I0"]
