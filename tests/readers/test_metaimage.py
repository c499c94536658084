import os
import zlib
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
DIRECTION = "0 1 0 -1 0 0 0 0 1"
Files = dict[str, bytes]
TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}


def metaimage(
    data: bytes = DATA, file: str = "LOCAL", *, element: str = "MET_SHORT", sizes: str = "4 3 2", **keys: object
) -> Files:
    """A header, and behind it or in its own file the voxels."""
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        f"DimSize = {sizes}",
        *(f"{key} = {text}" for key, text in keys.items()),
    ]
    header = "\n".join([*lines, f"ElementType = {element}", f"ElementDataFile = {file}\n"]).encode()
    return {"a.mha": header + data} if file.upper() == "LOCAL" else {"a.mha": header, file: data}


def equal_files() -> Iterator[tuple[str, Files]]:
    yield "only what is needed", metaimage()
    for flag in ("True", "true", "T", "t", "1"):
        yield f"BinaryData {flag}", metaimage(BinaryData=flag)
        for key in ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"):
            yield f"{key} {flag}", metaimage(VOXELS.astype(">i2").tobytes(), **{key: flag})
    for flag in ("False", "F", "0", "no"):
        yield f"ElementByteOrderMSB {flag}", metaimage(ElementByteOrderMSB=flag)
        yield f"BinaryData {flag}", metaimage(b"".join(b"%d\n" % value for value in VOXELS), BinaryData=flag)
    floats = b" ".join(b"%g" % (value / 4) for value in VOXELS) + b"\n"
    yield "decimal fractions", metaimage(floats, BinaryData="False", element="MET_FLOAT")
    for element, dtype in TYPES.items():
        yield element, metaimage((VOXELS * 5).astype(f"<{dtype}").tobytes(), element=element)
        big = (VOXELS * 5).astype(f">{dtype}").tobytes()
        yield f"{element}, big", metaimage(big, element=element, BinaryDataByteOrderMSB="T")
    for file in ("Local", "local", "LOCAL", "a.raw", "ü.raw", "b/a.raw"):
        yield f"voxels in {file}", metaimage(file=file)
    yield "two channels", metaimage(DATA * 2, ElementNumberOfChannels=2)
    yield "three channels", metaimage(DATA * 3, ElementNumberOfChannels=3)
    for key in ("ElementSpacing", "ElementSize"):
        yield key, metaimage(**{key: "0.7 0.8 2.5"})
    yield "size and spacing", metaimage(ElementSize="9 9 9", ElementSpacing="0.7 0.8 2.5")
    for key in ("Offset", "Origin", "Position"):
        yield key, metaimage(**{key: "1 -2 3.5"})
    for key in ("TransformMatrix", "Orientation", "Rotation"):
        yield key, metaimage(**{key: DIRECTION, "ElementSpacing": "0.7 0.8 2.5"})
    yield "directions that are not orthogonal", metaimage(TransformMatrix="1 .3 0 0 1 0 0 0 1")
    yield "directions that are not of length one", metaimage(TransformMatrix="2 0 0 0 1 0 0 0 1")
    yield "names of one key that agree", metaimage(Offset="1 2 3", Origin="1 2 3")
    yield "bytes before the voxels", metaimage(b"abcd" + DATA, "a.raw", HeaderSize=4)
    yield "anything before the voxels", metaimage(b"abcdefg" + DATA, "a.raw", HeaderSize=-1)
    packed = zlib.compress(DATA)
    for file in ("LOCAL", "a.zraw"):
        yield f"compressed in {file}", metaimage(packed, file, CompressedData="True", CompressedDataSize=len(packed))
    lines = {name: part.replace(b"\n", b"\r\n") for name, part in metaimage(b"", "a.raw").items()}
    yield "lines as on Windows", lines | {"a.raw": DATA}
    slices = {"a1.raw": DATA[:24], "a2.raw": DATA[24:]}
    for kind in ("LIST", "LIST 2", "LIST 2D"):
        yield kind, {"a.mha": metaimage(b"", kind)["a.mha"] + b"a1.raw\na2.raw\n", **slices}
    yield "a pattern", {"a.mha": metaimage(b"", "a%d.raw 1 2 1")["a.mha"], **slices}
    wide = {"b/001.raw": DATA[:24], "b/003.raw": DATA[24:]}
    yield "a pattern with zeros and steps", {"a.mha": metaimage(b"", "b/%03d.raw 1 3 2")["a.mha"], **wide}
    yield "other keys", metaimage(Comment="a = b", Modality="MET_MOD_CT", CenterOfRotation="1 2 3")


def own_files() -> Iterator[tuple[str, Files, np.ndarray]]:
    """Files that ITK reads otherwise; the voxels are right, and the spacing is expected as here."""
    packed = zlib.compress(DATA)
    # ITK needs CompressedDataSize, and reads memory that was never written without it.
    yield "compressed, of unknown size", metaimage(packed, CompressedData="True"), np.ones(3)
    yield "compressed, with more behind", metaimage(packed + b"abc", CompressedData="True"), np.ones(3)
    yield "no blank at the end", metaimage(b" ".join(b"%d" % value for value in VOXELS), BinaryData="F"), np.ones(3)
    for unit, millimeters in (("um", 0.001), ("mm", 1), ("cm", 10), ("?", 1)):
        yield f"unit {unit}", metaimage(DistanceUnits=unit), np.full(3, millimeters)


def refused_files() -> Iterator[tuple[str, Files, str]]:
    for sizes in (
        "4.5 3 2",
        "-4 3 2",
        "0 3 2",
        "4 3 two",
        "4 3",
        "4 3 2 1",
        "1e1 3 2",
        "",
        "9" * 5000 + " 3 2",
        "٤ 3 2",
    ):
        yield f"DimSize {sizes:.20}", metaimage(sizes=sizes), "DimSize: expected"
    yield "far too many voxels", metaimage(sizes="1000000 1000000 1000000"), "holds 48 bytes of voxels, expected 2,000,"
    many = metaimage(sizes="1000000 1000000 1000000", CompressedData="True")
    yield "far too many compressed voxels", many, "bytes of voxels, expected 2,000,000,"
    many = metaimage(b"1 2 3", sizes="1000000 1000000 1000000", BinaryData="False")
    yield "far too many numbers", many, "bytes of voxels, expected 2,000,000,"
    for channels in ("0", "-1", "1.5", "x", "1 1", "99999999999"):
        words = "ElementNumberOfChannels: expected|one number of channels|bytes of voxels"
        yield f"channels {channels}", metaimage(ElementNumberOfChannels=channels), words
    for dimensions in ("2", "4", "x", "0"):
        yield (
            f"NDims {dimensions}",
            {"a.mha": metaimage()["a.mha"].replace(b"NDims = 3", f"NDims = {dimensions}".encode())},
            "expected",
        )
    yield "another object", {"a.mha": metaimage()["a.mha"].replace(b"Image", b"Tube")}, "ObjectType: expected 'Image'"
    for spacing in ("1e300 1 1", "1e-300 1 1", "0 1 1", "-1 1 1", "nan 1 1", "inf 1 1", "1,5 1 1", "2 2", "2 2 2 2"):
        yield (
            f"spacing {spacing}",
            metaimage(ElementSpacing=spacing),
            "pacing|3, 3 and 9 numbers|singular or not finite",
        )
    for turn in (
        "1 0 0 0 1 0 0 0 0",
        "0 0 0 0 0 0 0 0 0",
        "1 0 0 1",
        "nan 0 0 0 1 0 0 0 1",
        "1e200 0 0 0 1e200 0 0 0 1",
    ):
        yield f"directions {turn}", metaimage(TransformMatrix=turn), "singular|numbers|spacing"
    yield "two origins", metaimage(Offset="1 2 3", Position="4 5 6"), "'Offset' has two values"
    yield "two directions", metaimage(TransformMatrix=DIRECTION, Rotation="1 0 0 0 1 0 0 0 1"), "has two values"
    yield "two byte orders", metaimage(BinaryDataByteOrderMSB="True", ElementByteOrderMSB="False"), "contradict"
    twice = metaimage()["a.mha"].replace(b"DimSize = 4 3 2", b"DimSize = 4 3 2\nDimSize = 2 3 4")
    yield "a key twice", {"a.mha": twice}, "'DimSize' has two values"
    for name, data in (("longer", DATA + b"ab"), ("shorter", DATA[:-2])):
        yield f"{name} voxel file", metaimage(data, "a.raw"), r"a\.raw holds (50|46) bytes of voxels, expected 48"
        yield f"{name} voxels in the file", metaimage(data), "holds (50|46) bytes of voxels, expected 48"
    yield "another type than the file", metaimage(element="MET_UCHAR"), "holds 48 bytes of voxels, expected 24"
    yield "bytes to skip that are not there", metaimage(DATA, "a.raw", HeaderSize=4), "holds 44 bytes"
    for skip in ("-2", "1.5", "x"):
        yield f"HeaderSize {skip}", metaimage(DATA, "a.raw", HeaderSize=skip), "HeaderSize: expected bytes, or -1"
    for element in ("MET_NONE", "MET_STRING", "MET_SHORT_ARRAY", "short", ""):
        yield f"type {element}", metaimage(element=element), "is not supported"
    for text, words in (
        (b"1 2 3 " * 7, "holds 21 numbers"),
        (b"1 2 3 " * 9, "holds 27 numbers"),
        (b"1 x " * 12, "cannot be read"),
    ):
        yield f"decimal numbers, {words}", metaimage(text, BinaryData="False"), words
    yield "a number too large", metaimage(b"99999 " * 24, BinaryData="False"), "cannot be read"
    yield "a number with a separator", metaimage(b"1_0 " * 24, BinaryData="False"), "numbers, expected"
    yield "compressed numbers", metaimage(BinaryData="False", CompressedData="True"), "cannot be compressed"
    packed = zlib.compress(DATA)
    for name, data in (("cut off", packed[:-6]), ("damaged", packed[:-4] + b"abcd"), ("no stream", DATA)):
        yield f"compressed, {name}", metaimage(data, CompressedData="True"), "cannot be inflated"
    for name, data in (("longer", zlib.compress(DATA + b"a")), ("shorter", zlib.compress(DATA[:-1]))):
        yield f"compressed, {name}", metaimage(data, CompressedData="True"), "bytes of voxels, expected 48"
    for names in (b"", b"a1.raw\n", b"a1.raw\na1.raw\na1.raw\n"):
        listed = {"a.mha": metaimage(b"", "LIST")["a.mha"] + names, "a1.raw": DATA[:24]}
        yield f"a list of {names!r}", listed, "files, expected|holds 24 bytes|expected"
    for pattern in ("a%s.raw 1 2 1", "a%d.raw", "a%d.raw x y", "a%9999d.raw 1 2 1", "a%d.raw 1 99999999 1"):
        yield f"pattern {pattern}", metaimage(b"", pattern), "expected file names|files or fewer|File name"
    for outside in ("../a.raw", "/etc/passwd", "b/../../a.raw", "s3://bucket/a.raw", ".."):
        header = metaimage(b"", "x.raw")["a.mha"].replace(b"x.raw", outside.encode())
        yield f"voxels in {outside}", {"a.mha": header}, "expected one in its own folder or below"
        listed = metaimage(b"", "LIST")["a.mha"] + f"{outside}\n{outside}\n".encode()
        yield f"list with {outside}", {"a.mha": listed}, "expected one in its own folder or below"
    yield "no voxel file", {"a.mha": metaimage(b"", "x.raw")["a.mha"]}, r"its voxel file x\.raw is missing"
    yield "a folder of voxels", {"a.mha": metaimage(b"", "b")["a.mha"], "b/a": b""}, "expected a file, got a folder"
    yield "nothing", {"a.mha": b""}, "not a MetaImage header"


def write(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder / "a.mha"


@pytest.mark.parametrize(("name", "files"), [*equal_files()])
def test_a_file_is_read_as_itk_reads_it(tmp_path: Path, name: str, files: Files) -> None:
    path = write(tmp_path, files)
    assert_same(by_voxray(path), by_itk(path))


@pytest.mark.parametrize(("name", "files", "spacing_mm"), [*own_files()])
def test_what_itk_reads_otherwise_is_read_as_it_is_meant(
    tmp_path: Path, name: str, files: Files, spacing_mm: np.ndarray
) -> None:
    read = by_voxray(write(tmp_path, files))
    expected = VOXELS.reshape(2, 3, 4).transpose(2, 1, 0)[None]
    assert_same(read, (expected, np.diag([*(spacing_mm * [-1, -1, 1]), 1])))


@pytest.mark.parametrize(("name", "files", "words"), [*refused_files()])
def test_what_is_no_scan_is_refused(tmp_path: Path, name: str, files: Files, words: str) -> None:
    with pytest.raises(ScanError, match=words) as caught:
        open_scan(write(tmp_path, files))
    assert "a.mha" in str(caught.value)
    if "compressed" not in name and "number" not in name:
        with pytest.raises(ScanError, match=words):
            read_header(tmp_path / "a.mha")


@pytest.mark.parametrize("dtype", [*TYPES.values()])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("file", ["a.mha", "a.mhd"])
def test_what_itk_writes_is_read(tmp_path: Path, dtype: str, compressed: bool, file: str) -> None:
    image = SimpleITK.GetImageFromArray(np.arange(60, dtype=dtype).reshape(3, 4, 5))
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((1, -2, 3))
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    SimpleITK.WriteImage(image, str(tmp_path / file), useCompression=compressed)
    assert_same(by_voxray(tmp_path / file), by_itk(tmp_path / file))


def test_a_pipe_as_voxel_file_is_never_waited_for(tmp_path: Path) -> None:
    path = write(tmp_path, {"a.mha": metaimage(b"", "x.raw")["a.mha"]})
    os.mkfifo(tmp_path / "x.raw")
    for read in (open_scan, read_header):
        with pytest.raises(ScanError, match="expected a file, got a pipe"):
            read(path)


def test_a_link_that_a_user_made_is_followed(tmp_path: Path) -> None:
    path = write(tmp_path / "data", {"a.mha": metaimage(b"", "x.raw")["a.mha"]})
    (tmp_path / "elsewhere.raw").write_bytes(DATA)
    (tmp_path / "data" / "x.raw").symlink_to(tmp_path / "elsewhere.raw")
    assert_same(by_voxray(path), by_itk(path))
