"""MedMNIST files: arrays that are missing, of another shape or type, and damaged bytes."""

import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from fuzzing import FIFO, Case, damage

from voxray.datasets.manifest import Manifest
from voxray.datasets.medmnist import read_medmnist

COUNT = 4
ARRAYS: dict[str, np.ndarray] = {
    f"{split}_{kind}": array
    for split in ("train", "val", "test")
    for kind, array in (
        ("images", np.arange(COUNT * 30, dtype=np.uint8).reshape(COUNT, 5, 6)),
        ("labels", np.array([[0], [1], [0], [1]])),
    )
}


def archive(members: Mapping[str, bytes]) -> bytes:
    """An archive of these arrays."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(zipfile.ZipInfo(f"{name}.npy"), content)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    """An array as bytes; objects are never read."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=False)
    return buffer.getvalue()


MEMBERS = {name: npy(array) for name, array in ARRAYS.items()}


def cases(seed: int) -> Iterator[Case]:
    """Named ones and damaged bytes."""
    if seed == 0:
        yield from _named()
    rng = np.random.default_rng(seed)
    for number in range(60):
        name = [*MEMBERS][int(rng.integers(len(MEMBERS)))]
        yield _case(f"damaged {name} {number}", archive(MEMBERS | {name: damage(MEMBERS[name], rng)}))
        yield _case(f"damaged archive {number}", damage(archive(MEMBERS), rng))


def _named() -> Iterator[Case]:
    for name, arrays in {
        "labels of several classes": {"val_labels": np.zeros((COUNT, 3), np.int64)},
        "labels that are fractions": {"val_labels": np.zeros((COUNT, 1))},
        "labels that are texts": {"val_labels": np.full((COUNT, 1), "a")},
        "too few labels": {"val_labels": np.zeros((COUNT - 1, 1), np.int64)},
        "a label of 2^62": {"val_labels": np.full((COUNT, 1), 2**62)},
        "a label below zero": {"val_labels": np.full((COUNT, 1), -1)},
        "labels beyond the integers": {"val_labels": np.full((COUNT, 1), 2**64 - 1, np.uint64)},
        "no images": {"val_images": np.zeros((0, 5, 6), np.uint8), "val_labels": np.zeros((0, 1), np.int64)},
        "images of another shape": {"val_images": np.zeros((COUNT, 6, 5), np.uint8)},
        "images of complex numbers": {"val_images": np.zeros((COUNT, 5, 6), np.complex64)},
        "images of two dimensions": {"val_images": np.zeros((COUNT, 5), np.uint8)},
        "a number alone": {"val_images": np.array(3)},
    }.items():
        content = archive(MEMBERS | {key: npy(array) for key, array in arrays.items()})
        yield Case(name, {"a.npz": content}, _read)
    for name in MEMBERS:
        yield Case(f"no {name}", {"a.npz": archive({key: MEMBERS[key] for key in MEMBERS if key != name})}, _read)
    huge = MEMBERS["val_images"].replace(b"(4, 5, 6), }", b"(4000000000,5000000000,6), }")
    yield Case("far too many images", {"a.npz": archive(MEMBERS | {"val_images": huge})}, _read)
    yield Case("no archive", {"a.npz": b"hello" * 99}, _read)
    yield Case("an empty file", {"a.npz": b""}, _read)
    yield Case("no file", {}, _read)
    yield Case("a folder", {"a.npz/b": b""}, _read)
    yield Case("a pipe", {"a.npz": FIFO}, _read)


def _case(name: str, content: bytes) -> Case:
    return Case(name, {"a.npz": content}, _read, _check)


def _read(folder: Path) -> Manifest:
    return read_medmnist(folder / "a.npz")


def _check(manifest: Manifest) -> None:
    assert manifest.scans.num_rows == 3 * COUNT
    assert len(manifest.classes) < 10_000
