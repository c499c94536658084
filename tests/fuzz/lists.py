"""CSV lists and ``dataset.json``, in every layout that reads one."""

import csv
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from dicom_scenes import slices, stored_voxels, write_series
from fuzzing import FIFO, Case, damage, odd_tree

from voxray.config.data import DataSpec
from voxray.datasets.layouts import read_manifest
from voxray.datasets.manifest import Manifest

SCANS = [f"s{number}.nii" for number in range(6)]
SERIES = [f"1.2.{number}" for number in range(4)]
PATIENTS = [f"BraTS20_Training_{number:03d}" for number in range(1, 5)]
DATASET: dict[str, Any] = {
    "name": "brains",
    "labels": {"0": "background", "1": "tumor"},
    "modality": {"0": "FLAIR", "1": "T1w"},
    "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in SCANS],
    "test": [],
}
ODD_CELLS = (
    *("", " ", "nan", "NaN", "1e400", "-1", "2", "9" * 400, "\0", '"', "a,b", "ä"),
    *("../x", "..", ".", "/etc/passwd", "{a,b}", "{../a,b}", "a/../../b"),
)


def write(rows: list[list[str]], **dialect: Any) -> bytes:
    """Rows as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", **dialect).writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")


TABLE = [["path", "label", "patient_id", "split"]] + [
    [name, ("well", "ill")[number % 2], f"p{number}", ("train", "val", "test")[number % 3]]
    for number, name in enumerate(SCANS)
]
LUNA = [["seriesuid", "coordX", "coordY", "coordZ", "class"]] + [
    [SERIES[number % 4], str(number + 0.5), str(-number), "3.25", str(number % 2)] for number in range(10)
]
BRATS = [["Grade", "BraTS_2020_subject_ID"]] + [[("LGG", "HGG")[n % 2], name] for n, name in enumerate(PATIENTS)]
LABELS = [["folder", "label", "split"]] + [[f"case{n}", ("well", "ill")[n % 2], "train"] for n in range(4)]


def series() -> dict[str, bytes]:
    """Four DICOM series of two slices."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(4):
            write_series(Path(folder, f"case{number}"), slices(stored_voxels(number, (2, 4, 4))))
        return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*.dcm")}


FILES: dict[str, dict[str, bytes]] = {
    "dicom": series(),
    "table": dict.fromkeys(SCANS, b""),
    "luna16": {f"subset{number}/{name}.mhd": b"" for number, name in enumerate(SERIES)},
    "brats2020": {
        f"{name}/{name}_{kind}.nii": b"" for name in PATIENTS for kind in ("flair", "t1", "t1ce", "t2", "seg")
    },
    "decathlon": {f"{folder}/{name}": b"" for folder in ("imagesTr", "labelsTr") for name in SCANS},
}
LISTS = {
    "table": ("manifest.csv", TABLE),
    "luna16": ("candidates.csv", LUNA),
    "brats2020": ("name_mapping.csv", BRATS),
    "dicom": ("labels.csv", LABELS),
}


def cases(seed: int) -> Iterator[Case]:
    """Named ones, random bytes and random cells."""
    for layout, (_, rows) in LISTS.items():
        yield replace(_case(layout, "nothing wrong", write(rows)), sound=True)
        if seed == 0:
            yield from _same(layout, rows)
            yield from _named(layout, rows)
    yield replace(_case("decathlon", "nothing wrong", json.dumps(DATASET).encode()), sound=True)
    if seed == 0:
        yield from _named_decathlon()
    rng = np.random.default_rng(seed)
    for number in range(25):
        for layout, (_, rows) in LISTS.items():
            yield _case(layout, f"damaged bytes {number}", damage(write(rows), rng))
            yield _case(layout, f"odd cell {number}", write(_odd_cell(rows, rng)))
        yield _case("decathlon", f"damaged bytes {number}", damage(json.dumps(DATASET).encode(), rng))
        yield _case("decathlon", f"odd value {number}", json.dumps(odd_tree(DATASET, rng)).encode())


def _same(layout: str, rows: list[list[str]]) -> Iterator[Case]:
    """Spellings of the same list: they are read as the plain one."""
    plain = write(rows)
    for name, content in {
        "a byte order mark": b"\xef\xbb\xbf" + plain,
        "Windows' line ends": plain.replace(b"\n", b"\r\n"),
        "all in quotes": write(rows, quoting=csv.QUOTE_ALL),
        "blanks around cells": write([[f" {cell} " for cell in row] for row in rows]),
        "blanks around names of columns": write([[f"{cell} " for cell in rows[0]], *rows[1:]]),
        "empty lines between": plain.replace(b"\n", b"\n\n"),
        "no line end at the end": plain.rstrip(b"\n"),
        "semicolons": write(rows, delimiter=";"),
        "tabs": write(rows, delimiter="\t"),
    }.items():
        yield replace(_case(layout, name, content), sound=True)


def _named(layout: str, rows: list[list[str]]) -> Iterator[Case]:
    plain = write(rows)
    for name, content in {
        "nothing": b"",
        "a line end alone": b"\n",
        "the header alone": write(rows[:1]),
        "a column twice": write([[*row, row[0]] for row in rows]),
        "a line with a cell too many": plain + b"a," * len(rows[0]) + b"b\n",
        "a line with a cell too few": plain + b"a\n",
        "UTF-16": plain.decode().encode("utf-16"),
        "no text": bytes(range(256)) * 8,
        "a quote that never ends": plain.replace(b"\n", b'\n"', 1),
        "a cell of a megabyte": plain.replace(b",", b"x" * 2**20 + b",", 1),
    }.items():
        yield Case(f"{layout}: {name}", _files(layout, content), _reader(layout))
    yield Case(f"{layout}: a FIFO", _files(layout, FIFO), _reader(layout))
    yield Case(f"{layout}: not UTF-8", _files(layout, plain + b"\xff\xfe,a,b,c,d\n"), _reader(layout))


def _named_decathlon() -> Iterator[Case]:
    text = json.dumps(DATASET)
    for name, content in {
        "nested 5,000 deep": "[" * 5000 + "]" * 5000,
        "a key twice": text.replace('"test": []', '"labels": {"0": "a", "1": "b"}'),
        "a label of 2^62": text.replace('"1": "tumor"', f'"{2**62}": "tumor"'),
        "no number": text.replace('"test": []', '"test": NaN'),
        "a path of 300 letters": text.replace("s0.nii", "x" * 300),
        "a path above the folder": text.replace("./imagesTr/s0", "../imagesTr/s0"),
        "an absolute path": text.replace("./imagesTr/s0", "/etc/s0"),
        "an empty file": "",
    }.items():
        yield Case(f"decathlon: {name}", _files("decathlon", content.encode()), _reader("decathlon"))
    yield Case("decathlon: a FIFO", _files("decathlon", FIFO), _reader("decathlon"))


def _odd_cell(rows: list[list[str]], rng: np.random.Generator) -> list[list[str]]:
    rows = [list(row) for row in rows]
    row = rows[int(rng.integers(len(rows)))]
    row[int(rng.integers(len(row)))] = ODD_CELLS[int(rng.integers(len(ODD_CELLS)))]
    return rows


def _files(layout: str, content: bytes | None) -> dict[str, bytes | None]:
    name = "dataset.json" if layout == "decathlon" else LISTS[layout][0]
    return {**FILES[layout], name: content}


def _reader(layout: str) -> Callable[[Path], Manifest]:
    return lambda folder: read_manifest(DataSpec(layout=layout, root=str(folder)))


def _case(layout: str, name: str, content: bytes) -> Case:
    return Case(f"{layout}: {name}", _files(layout, content), _reader(layout), _check)


def _check(manifest: Manifest) -> None:
    """What holds of every manifest: nothing outside of the folder, no name twice, no sample without a class."""
    root = Path(str(manifest.root)).resolve()
    scans = manifest.scans.to_pylist()
    for scan in scans:
        for file in _expanded(scan["path"]):
            assert (root / file).resolve().is_relative_to(root), file
    names = [scan["scan_id"] for scan in scans]
    assert len(set(names)) == len(names)
    assert all(name and name == name.strip() for name in names)
    assert len(manifest.classes) >= 2
    assert all(name == name.strip() for name in manifest.classes)
    for sample in manifest.samples.to_pylist():
        assert sample["scan_id"] in names
        assert 0 <= sample["label"] < len(manifest.classes)
        assert sample["x_mm"] is None or all(abs(sample[axis]) < 1e6 for axis in ("x_mm", "y_mm", "z_mm"))


def _expanded(path: str) -> list[str]:
    start, brace, rest = path.partition("{")
    return [start + end for end in rest.rstrip("}").split(",")] if brace else [path]
