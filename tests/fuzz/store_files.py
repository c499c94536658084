"""The files of a finished store: Zarr metadata, shards, index and quarantine."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from fuzz_runs import finished_run
from fuzzing import FIFO, Case, damage, odd_tree
from numpy.typing import NDArray

from voxray.store.read import check_store, open_store

Content = tuple[pa.Table, NDArray[np.generic]]


def cases(seed: int) -> Iterator[Case]:
    """Each kind of file absent, empty, cut, of another kind, and with random damages."""
    files = _store()
    yield replace(_case("nothing wrong", {}), sound=True)
    shard = next(name for name in files if name.startswith("train/image/c/"))
    kinds = ("zarr.json", "train/image/zarr.json", "index.parquet", shard)
    if seed == 0:
        yield from _named(kinds)
    rng = np.random.default_rng(seed)
    for number in range(15):
        for name in kinds:
            yield _case(f"{name}: damaged bytes {number}", {name: damage(files[name], rng)})
        for name in kinds[:2]:
            content = json.dumps(odd_tree(json.loads(files[name]), rng)).encode()
            yield _case(f"{name}: odd value {number}", {name: content})


def _named(kinds: tuple[str, ...]) -> Iterator[Case]:
    for name in kinds:
        sound = _store()[name]
        for what, content in {
            "empty": b"",
            "cut in the middle": sound[: len(sound) // 2],
            "zeros": bytes(len(sound)),
            "an empty object": b"{}",
            "nested 5,000 deep": b"[" * 5000 + b"]" * 5000,
            "a FIFO": FIFO,
        }.items():
            # Reading takes what is in the metadata of arrays from the root.
            check = _check if name.endswith("image/zarr.json") else None
            yield Case(f"{name}: {what}", {**_store(), name: content}, _read, check)


def _store() -> dict[str, bytes]:
    return {
        name.removeprefix("store/"): content for name, content in finished_run().items() if name.startswith("store/")
    }


def _case(name: str, changed: dict[str, bytes]) -> Case:
    return Case(name, {**_store(), **changed}, _read, _check)


def _read(folder: Path) -> Content:
    store = open_store(folder)
    assert list(check_store(store))
    slots = np.unique(store.rows("train")["slot"].to_numpy())
    return store.index, store.read_patches("train", slots)


def _check(content: Content) -> None:
    """What is accepted is what was written."""
    index, patches = _sound()
    assert content[0].equals(index)
    np.testing.assert_array_equal(content[1], patches)


@cache
def _sound() -> Content:
    with tempfile.TemporaryDirectory() as folder:
        for name, data in _store().items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return _read(Path(folder))
