import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxray.scans.header import ScanHeader
from voxray.store.layout import StoreInfo
from voxray.store.memory import block_bytes, memory_classes, scan_bytes

MIB = 2**20


def info(*, masks: bool = False, statistics: bool = False, **patches: Any) -> StoreInfo:
    provenance = {"statistics": statistics, "patches": {"spacing_mm": None, "sampling": "center", **patches}}
    task = "segmentation" if masks else "classification"
    return StoreInfo(("a", "b"), task, (64, 64, 10), 1, "int16", 4, 400, {"train": 1}, 1, "d", provenance, ())


def header(shape: tuple[int, int, int], dtype: str = "int16", channels: int = 1, size_bytes: int = 0) -> ScanHeader:
    return ScanHeader(channels, shape, np.dtype(dtype), np.diag([0.7, 0.7, 2.0, 1.0]), "RAS", size_bytes)


sides = st.integers(1, 1000)
shapes = st.tuples(sides, sides, sides)


@given(shapes, st.sampled_from(["uint8", "int16", "float32", "float64"]), st.integers(1, 4), st.integers(0, 2**32))
def test_a_scan_takes_at_least_its_file_and_its_voxels(
    shape: tuple[int, int, int], dtype: str, channels: int, size_bytes: int
) -> None:
    scan = header(shape, dtype, channels, size_bytes)
    voxels = math.prod(shape) * channels * np.dtype(dtype).itemsize
    assert scan_bytes(scan, info()) >= voxels + size_bytes
    for more in (info(masks=True), info(statistics=True), info(spacing_mm=(1.0, 1.0, 1.0))):
        assert scan_bytes(scan, more) > scan_bytes(scan, info())


@given(shapes, shapes)
def test_a_larger_scan_takes_no_less(one: tuple[int, int, int], other: tuple[int, int, int]) -> None:
    larger = tuple(map(max, one, other))
    store = info(masks=True, statistics=True, spacing_mm=(1.0, 1.0, 3.0))
    assert scan_bytes(header((larger[0], larger[1], larger[2])), store) >= scan_bytes(header(one), store)


def test_the_block_of_a_shard_counts_images_and_masks() -> None:
    assert block_bytes(info()) >= 400 * 64 * 64 * 10 * 2
    assert block_bytes(info(masks=True)) == pytest.approx(block_bytes(info()) * 1.5)
    assert block_bytes(replace(info(), patches_per_shard=800)) == 2 * block_bytes(info())


needs = st.dictionaries(st.tuples(st.sampled_from(["train", "val"]), st.integers(0, 99)), st.integers(1, 2**40))


@given(needs, st.none() | st.integers(1, 2**40))
def test_each_shard_is_given_what_it_needs_or_all_there_is(
    wanted: dict[tuple[str, int], int], room: int | None
) -> None:
    classes = memory_classes(wanted, room)
    assert sorted(key for keys in classes.values() for key in keys) == sorted(wanted)
    assert len(classes) <= 41
    for granted, keys in classes.items():
        assert room is None or granted <= room
        for key in keys:
            assert granted >= wanted[key] or granted == room
            assert granted < 2 * wanted[key] or wanted[key] == 1


def test_few_bytes_more_do_not_make_another_class() -> None:
    assert memory_classes({("train", n): 600 * MIB + n for n in range(50)}, None) == {
        1024 * MIB: [("train", n) for n in range(50)]
    }
