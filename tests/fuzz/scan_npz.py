"""Stacks of images in ``.npz`` files: the archive, its arrays and their headers."""

import io
import zipfile
from collections.abc import Iterator

import numpy as np
from fuzz_scans import Scan, check_scan, read_scan
from fuzzing import FIFO, Case, damage

IMAGES = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
ROW = "a.npz/images/1"


def npz(content: bytes, *, name: str = "images.npy", packed: bool = True) -> bytes:
    """An archive of one member."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def npy(array: np.ndarray = IMAGES, **changes: object) -> bytes:
    """An array; `changes` replace what its header says."""
    buffer = io.BytesIO()
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape, **changes}
    np.lib.format.write_array_header_2_0(buffer, header)  # type: ignore[arg-type]  # that is the point
    return buffer.getvalue() + array.tobytes()


def cases(seed: int) -> Iterator[Case]:
    """Named ones and damaged bytes."""
    if seed == 0:
        yield from _named()
    rng = np.random.default_rng(seed)
    for number in range(30):
        yield _case(f"damaged array {number}", npz(damage(npy(), rng)))
        yield _case(f"damaged archive {number}", damage(npz(npy(), packed=bool(number % 2)), rng))


def _named() -> Iterator[Case]:
    for name, content in {
        "objects": npy(descr="|O"),
        "dates": npy(IMAGES.astype("M8[s]")),
        "texts": npy(np.full((3, 4, 5), "a")),
        "complex numbers": npy(IMAGES.astype(np.complex64)),
        "colors as records": npy(descr=[("r", "u1")]),
        "an unknown type": npy(descr="x9"),
        "far too many images": npy(shape=(10**6, 10**6, 10**6)),
        "a shape below zero": npy(shape=(-3, 4, -5)),
        "a shape of fractions": npy(shape=(3.0, 4, 5)),
        "fewer bytes than the shape says": npy()[:-1],
        "more bytes than the shape says": npy() + b"a",
        "a number alone": npy(np.array(3)),
        "a row of numbers": npy(np.arange(9)),
        "images without pixels": npy(np.zeros((3, 0, 5))),
        "images of four dimensions": npy(np.zeros((3, 4, 5, 6, 2))),
        "no array": b"hello",
        "nothing": b"",
        "code for a header": b"\x93NUMPY\x01\x00\x10\x00__import__('os')",
    }.items():
        yield Case(name, {"a.npz": npz(content)}, read_scan(ROW))
    good = npz(npy())
    yield Case("another array", {"a.npz": npz(npy(), name="masks.npy")}, read_scan(ROW))
    for row in ("3", "-1", "x", "9" * 99, "1.0", "²"):
        yield Case(f"image {row:.9}", {"a.npz": good}, read_scan(f"a.npz/images/{row}"))
    yield Case("no archive", {"a.npz": b"hello" * 99}, read_scan(ROW))
    yield Case("an empty file", {"a.npz": b""}, read_scan(ROW))
    yield Case("no file", {}, read_scan(ROW))
    yield Case("a folder", {"a.npz/images/1/x": b""}, read_scan(ROW))
    yield Case("a pipe", {"a.npz": FIFO}, read_scan(ROW))
    zeros = npy(np.zeros((3, 4096, 4096), np.uint8))
    lying = npz(zeros).replace(len(zeros).to_bytes(4, "little"), (2**31).to_bytes(4, "little"))
    yield Case("a member that says to be larger", {"a.npz": lying}, read_scan(ROW))


def _case(name: str, content: bytes) -> Case:
    return Case(name, {"a.npz": content}, read_scan(ROW), _check)


def _check(scan: Scan) -> None:
    check_scan(scan)
    assert scan.volume.array.nbytes <= 2 * IMAGES.nbytes
