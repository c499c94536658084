"""MetaImage: headers of every kind, damaged headers and odd values."""

from collections.abc import Iterator

import numpy as np
from fuzz_scans import check_scan, read_scan
from fuzzing import FIFO, Case, damage
from readers.test_metaimage import DATA, TYPES, Files, metaimage, refused_files

KEYS = {
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "Offset": "1 2 3",
    "ElementSpacing": "0.7 0.8 2.5",
    "ElementNumberOfChannels": "1",
    "HeaderSize": "0",
    "DimSize": "4 3 2",
    "ElementType": "MET_SHORT",
    "NDims": "3",
}
ODD = (
    *(
        "",
        "0",
        "-1",
        "1",
        "2",
        "x",
        "1e308",
        "-1e308",
        "1e-320",
        "nan",
        "inf",
        "True",
        "T",
        "LOCAL",
        "a.raw",
        "%d 1 2 1",
    ),
    *(
        "4 3 2 1",
        "3 4 2",
        "2 3",
        "0 0 0",
        "1 1 1 1 1 1 1 1 1",
        "9" * 99,
        "9" * 5000,
        "\0",
        "4,3,2",
        "../a",
        "/etc/passwd",
    ),
    *TYPES,
)


def cases(seed: int) -> Iterator[Case]:
    """Named ones, damaged headers and odd values."""
    if seed == 0:
        for name, files, _ in refused_files():
            yield Case(name, files, read_scan("a.mha"))
        header = metaimage(b"", "x.raw", **KEYS)
        yield Case("a pipe", {"a.mha": FIFO}, read_scan("a.mha"))
        yield Case("a pipe of voxels", header | {"x.raw": FIFO}, read_scan("a.mha"))
        yield Case("a folder", {"a.mha/b": b""}, read_scan("a.mha"))
    rng = np.random.default_rng(seed)
    for number in range(60):
        files = metaimage(DATA, ("LOCAL", "x.raw")[number % 2])
        yield _case(f"damaged bytes {number}", files | {"a.mha": damage(files["a.mha"], rng)})
    for number in range(80):
        key, value = [*KEYS][int(rng.integers(len(KEYS)))], ODD[int(rng.integers(len(ODD)))]
        yield _case(f"{key} = {value:.20} ({number})", _changed(key, value, rng))


def _case(name: str, files: Files) -> Case:
    return Case(name, files, read_scan("a.mha"), check_scan)


def _changed(key: str, value: str, rng: np.random.Generator) -> Files:
    lines = {**KEYS, key: value}
    if rng.random() < 0.2:
        del lines[key]
    header = "\n".join(f"{name} = {text}" for name, text in lines.items())
    return {"a.mha": f"ObjectType = Image\n{header}\nElementDataFile = LOCAL\n".encode() + DATA}
