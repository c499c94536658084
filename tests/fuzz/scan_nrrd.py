"""NRRD: headers of every kind, damaged headers and odd values."""

import gzip
from collections.abc import Iterator

import numpy as np
from fuzz_scans import check_scan, read_scan
from fuzzing import FIFO, Case, damage
from readers.test_nrrd import DATA, TURNED, Files, nrrd, refused_files

FIELDS = {
    "type": "int16",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "4 3 2",
    "space directions": TURNED,
    "kinds": "domain domain domain",
    "endian": "little",
    "encoding": "gzip",
    "space origin": "(1,2,3)",
    "line skip": "0",
    "byte skip": "0",
}
ODD = (
    *(
        "",
        "0",
        "-1",
        "1",
        "2",
        "4",
        "16",
        "17",
        "x",
        "nan",
        "inf",
        "1e308",
        "none",
        "(1,0,0)",
        "(0,0,0) (0,0,0) (0,0,0)",
    ),
    *("4 3 2 1", "3 4 2", "2 3", "0 0 0", "9" * 99, "9" * 5000, "\0", "4,3,2", "../a", "raw", "hex", "ascii", "bzip2"),
    *("float", "block", "double", "uchar", "big", "RAS", "vector domain domain", "list list list", "(nan,nan,nan)"),
)


def cases(seed: int) -> Iterator[Case]:
    """Named ones, damaged headers and odd values."""
    if seed == 0:
        for name, files, _ in refused_files():
            yield Case(name, files, read_scan(next(iter(files))))
        yield Case("a pipe", {"a.nrrd": FIFO}, read_scan("a.nrrd"))
        yield Case("a pipe of voxels", nrrd(name="a.nhdr", data_file="x.raw") | {"x.raw": FIFO}, read_scan("a.nhdr"))
        yield Case("a folder", {"a.nrrd/b": b""}, read_scan("a.nrrd"))
    rng = np.random.default_rng(seed)
    for number in range(40):
        packed = {"encoding": "gzip"} if number % 2 else {}
        content = nrrd(gzip.compress(DATA) if number % 2 else DATA, **packed)["a.nrrd"]
        yield _case(f"damaged bytes {number}", {"a.nrrd": damage(content, rng)})
    for number in range(80):
        field, value = [*FIELDS][int(rng.integers(len(FIELDS)))], ODD[int(rng.integers(len(ODD)))]
        lines = {**FIELDS, field: value}
        if rng.random() < 0.2:
            del lines[field]
        header = "\n".join(["NRRD0004", *(f"{name}: {text}" for name, text in lines.items())]).encode()
        yield _case(f"{field}: {value:.20} ({number})", {"a.nrrd": header + b"\n\n" + gzip.compress(DATA)})


def _case(name: str, files: Files) -> Case:
    return Case(name, files, read_scan("a.nrrd"), check_scan)
