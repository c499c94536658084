import bz2
import gzip
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from readers.reading import assert_same, by_itk, by_voxray

from voxray.errors import ScanError
from voxray.scans.header import read_header
from voxray.scans.read import open_scan

VOXELS = np.arange(24, dtype="<i2")
DATA = VOXELS.tobytes()
PACKED = gzip.compress(DATA)
TURNED = "(0,-2,0) (3,0,0) (0,0,4)"
Files = dict[str, bytes]
TYPES = {
    "int8": "i1",
    "uchar": "u1",
    "short": "i2",
    "unsigned short": "u2",
    "int": "i4",
    "uint32": "u4",
    "long long int": "i8",
    "uint64_t": "u8",
    "float": "f4",
    "double": "f8",
}


def nrrd(data: bytes = DATA, *more: str, name: str = "a.nrrd", drop: str = "", **fields: str) -> Files:
    """A file with these fields, an underscore for a blank; `more` are further lines of the header."""
    content = {"type": "int16", "dimension": "3", "sizes": "4 3 2", "encoding": "raw", "endian": "little"}
    content |= {key.replace("_", " "): text for key, text in fields.items()}
    lines = ["NRRD0005", *(f"{key}: {text}" for key, text in content.items() if key != drop), *more]
    header = "\n".join(lines).encode() + b"\n"
    return {name: header if name.endswith(".nhdr") else header + b"\n" + data}


def detached(files: Files, **fields: str) -> Files:
    return nrrd(b"", name="a.nhdr", **fields) | files


def equal_files() -> Iterator[tuple[str, Files]]:
    yield "only what is needed", nrrd()
    for kind, code in TYPES.items():
        dtype = np.dtype(code)
        yield kind, nrrd(VOXELS.astype(dtype).tobytes(), type=kind)
        yield f"{kind}, big", nrrd(VOXELS.astype(dtype.newbyteorder(">")).tobytes(), type=kind, endian="big")
    for space in ("left-posterior-superior", "LPS", "right-anterior-superior", "RAS", "left-anterior-superior", "LAS"):
        yield space, nrrd(space=space, space_directions=TURNED, space_origin="(1,2,3)")
    for space in ("scanner-xyz", "3D-right-handed", "3D-left-handed"):
        yield space, nrrd(space=space, space_directions=TURNED, space_origin="(1,2,3)")
    yield "three dimensions without names", nrrd(space_dimension="3", space_directions=TURNED, space_origin="(1,2,3)")
    yield "spacings", nrrd(spacings="2 3 4")
    yield "a spacing below zero", nrrd(spacings="-2 3 4")
    yield "axis mins", nrrd(spacings="2 3 4", axis_mins="1 2 3")
    yield "millimeters", nrrd(space="LPS", space_directions=TURNED, space_units='"mm" "mm" "mm"')
    for axis, sizes in ((0, "2 4 3 2"), (3, "4 3 2 2")):
        kinds, steps = ["domain"] * 3, ["(2,0,0)", "(0,3,0)", "(0,0,4)"]
        kinds.insert(axis, "vector")
        steps.insert(axis, "none")
        fields = {"dimension": "4", "sizes": sizes, "kinds": " ".join(kinds), "space": "LPS"}
        yield f"channels on axis {axis}", nrrd(DATA * 2, **fields, space_directions=" ".join(steps))
    for kind in ("list", "3-vector", "RGB-color"):
        fields = {"dimension": "4", "sizes": "3 4 3 2", "kinds": f"{kind} domain domain domain"}
        yield f"channels of kind {kind}", nrrd(DATA * 3, **fields)
    yield "decimal numbers", nrrd(b" ".join(b"%d" % value for value in VOXELS), encoding="ascii")
    yield "hexadecimal numbers", nrrd(DATA.hex().encode(), encoding="hex")
    for encoding in ("gz", "gzip"):
        yield encoding, nrrd(PACKED, encoding=encoding)
    yield "gzip, lines to skip", nrrd(b"one\ntwo\n" + PACKED, encoding="gzip", line_skip="2")
    yield "gzip, bytes to skip", nrrd(gzip.compress(b"abc" + DATA), encoding="gzip", byte_skip="3")
    both = {"encoding": "gzip", "line_skip": "1", "byte_skip": "3"}
    yield "gzip, both to skip", nrrd(b"one\n" + gzip.compress(b"abc" + DATA), **both)
    yield "gzip, anything behind the stream", nrrd(PACKED + b"\0" * 9, encoding="gzip")
    yield "lines to skip", nrrd(b"one\n" + DATA, line_skip="1")
    yield "bytes to skip", nrrd(b"abc" + DATA, byte_skip="3")
    yield "anything to skip", nrrd(b"abcdefg" + DATA, byte_skip="-1")
    yield "keys and comments", nrrd(DATA, "# a comment: of mine", "key:=a: b")
    for field in ("data_file", "datafile"):
        yield f"voxels in {field}", detached({"a.raw": DATA}, **{field: "a.raw"})
    yield "voxels in a folder", detached({"b/ü.raw.gz": PACKED}, data_file="b/ü.raw.gz", encoding="gzip")
    yield "bytes to skip in a file", detached({"a.raw": b"abc" + DATA}, data_file="a.raw", byte_skip="3")
    slices = {"a1.raw": DATA[:24], "a2.raw": DATA[24:]}
    yield "a pattern", detached(slices, data_file="a%d.raw 1 2 1")
    yield "a list", {"a.nhdr": nrrd(b"", name="a.nhdr", data_file="LIST")["a.nhdr"] + b"a1.raw\na2.raw\n", **slices}


def own_files() -> Iterator[tuple[str, Files, float]]:
    """Files whose unit ITK passes over, and the unit in millimeters."""
    for unit, millimeters in (("um", 0.001), ("cm", 10.0), ("m", 1000.0), ("µm", 0.001)):
        units = " ".join([f'"{unit}"'] * 3)
        yield unit, nrrd(space="LPS", space_directions=TURNED, space_origin="(1,2,3)", space_units=units), millimeters


def refused_files() -> Iterator[tuple[str, Files, str]]:
    for sizes in ("4 0 2", "4 -3 2", "4 x 2", "4.5 3 2", "", "9" * 5000):
        yield f"sizes {sizes:.20}", nrrd(sizes=sizes), "sizes: expected"
    huge = "1000000 1000000 1000000"
    for encoding in ("raw", "gzip", "ascii", "hex"):
        few = nrrd(PACKED, sizes=huge, encoding=encoding)
        yield f"far too few voxels, {encoding}", few, "bytes.* (expected|too few)"
    for name, data in (("longer", DATA + b"ab"), ("shorter", DATA[:-2])):
        yield f"{name} voxels", nrrd(data), "holds (50|46) bytes of voxels, expected 48"
        yield f"{name} voxel file", detached({"a.raw": data}, data_file="a.raw"), "holds (50|46) bytes"
    yield "gzip, too few", nrrd(gzip.compress(DATA[:-1]), encoding="gzip"), "too few voxels"
    yield "gzip, cut off", nrrd(PACKED[:-10], encoding="gzip"), "too few voxels|cannot be read"
    yield "gzip, damaged", nrrd(PACKED[:-8] + bytes(4) + PACKED[-4:], encoding="gzip"), "cannot be read"
    yield "no gzip", nrrd(encoding="gzip"), "too few voxels|cannot be read"
    for encoding in ("bz2", "zip", ""):
        yield f"encoding {encoding}", nrrd(bz2.compress(DATA), encoding=encoding), "is not supported"
    for kind in ("block", "complex", "string", ""):
        yield f"type {kind}", nrrd(type=kind), "type: expected integers or floats"
    for field in ("type", "sizes", "encoding"):
        yield f"no {field}", nrrd(drop=field), f"has no '{field}'"
    yield "no dimension", nrrd(drop="dimension"), "cannot be read"
    for dimension, sizes in (("2", "4 6"), ("4", "4 3 2 1"), ("0", "4 3 2"), ("17", "4 3 2")):
        yield f"dimension {dimension}", nrrd(dimension=dimension, sizes=sizes), "expected 3 dimensions|cannot be read"
    for skip in ("-2", "x", "1.5"):
        yield f"byte skip {skip}", nrrd(byte_skip=skip), "to skip|byte skip: expected"
    yield "line skip -1", nrrd(line_skip="-1"), "to skip"
    yield "bytes to skip from the end of gzip", nrrd(PACKED, encoding="gzip", byte_skip="-1"), "to skip"
    for units in ('"ft" "ft" "ft"', '"mm" "mm" "cm"'):
        unclear = nrrd(space="LPS", space_directions=TURNED, space_units=units)
        yield f"units {units}", unclear, "space units: expected"
    yield "a field twice", nrrd(DATA, "sizes: 2 3 4"), "'sizes' has two values"
    for first in ("0,0,0", "nan,0,0", "0,3,0", "1e300,0,0", "1e-300,0,0", "inf,0,0", "x,0,0", "1,0"):
        wrong = nrrd(space="LPS", space_directions=f"({first}) (0,3,0) (0,0,4)")
        yield f"direction {first}", wrong, "cannot be read|singular|spac"
    for step in ("0", "1e300", "1e-300", "inf"):
        yield f"spacing {step}", nrrd(spacings=f"{step} 1 1"), "cannot be read|singular|spac"
    for outside in ("../a.raw", "/etc/passwd", "b/../../a.raw", "s3://bucket/a.raw", "../a%d.raw 1 2 1"):
        header = nrrd(b"", name="a.nhdr", data_file=outside)
        yield f"voxels in {outside}", header, "expected one in its own folder or below"
        listed = {"a.nhdr": nrrd(b"", name="a.nhdr", data_file="LIST")["a.nhdr"] + f"{outside}\n".encode()}
        yield f"a list with {outside}", listed, "expected one in its own folder or below"
        yield f"voxels of a .nrrd in {outside}", nrrd(data_file=outside), "expected one in its own folder or below"
    yield "no voxel file", nrrd(b"", name="a.nhdr", data_file="x.raw"), r"its voxel file x\.raw is missing"
    yield "nothing", {"a.nrrd": b""}, "not an NRRD file"
    yield "another file", {"a.nrrd": b"hello" * 99}, "not an NRRD file"


def write(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder / next(iter(files))


@pytest.mark.parametrize(("name", "files"), [*equal_files()])
def test_a_file_is_read_as_itk_reads_it(tmp_path: Path, name: str, files: Files) -> None:
    path = write(tmp_path, files)
    assert_same(by_voxray(path), by_itk(path))


@pytest.mark.parametrize(("name", "files", "unit_mm"), [*own_files()])
def test_a_unit_is_converted(tmp_path: Path, name: str, files: Files, unit_mm: float) -> None:
    path = write(tmp_path, files)
    voxels, affine = by_itk(path)
    affine[:3] *= unit_mm
    assert_same(by_voxray(path), (voxels, affine))


@pytest.mark.parametrize(("name", "files", "words"), [*refused_files()])
def test_what_is_no_scan_is_refused(tmp_path: Path, name: str, files: Files, words: str) -> None:
    with pytest.raises(ScanError, match=words) as caught:
        open_scan(write(tmp_path, files))
    assert next(iter(files)) in str(caught.value)


@pytest.mark.parametrize("dtype", [*TYPES.values()])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("file", ["a.nrrd", "a.nhdr"])
def test_what_itk_writes_is_read(tmp_path: Path, dtype: str, compressed: bool, file: str) -> None:
    image = SimpleITK.GetImageFromArray(np.arange(60, dtype=dtype).reshape(3, 4, 5))
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((1, -2, 3))
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    SimpleITK.WriteImage(image, str(tmp_path / file), useCompression=compressed)
    assert_same(by_voxray(tmp_path / file), by_itk(tmp_path / file))


def test_a_pipe_as_voxel_file_is_never_waited_for(tmp_path: Path) -> None:
    path = write(tmp_path, nrrd(b"", name="a.nhdr", data_file="x.raw"))
    os.mkfifo(tmp_path / "x.raw")
    for read in (open_scan, read_header):
        with pytest.raises(ScanError, match="expected a file, got a pipe"):
            read(path)
