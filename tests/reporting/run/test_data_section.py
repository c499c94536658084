"""Patches that are used, and excluded data."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from voxray.datasets.manifest import QUARANTINE
from voxray.reporting.run.contents import RunContents
from voxray.reporting.run.data_section import count_splits, group_quarantine, trace_patches

ROWS: list[dict[str, Any]] = [
    {
        "scan_id": "s1",
        "path": "a/s1.mhd",
        "row": 4,
        "kind": "sample",
        "samples": 1,
        "reason": "a/s1.mhd: sample 4: off by 1.5 mm",
    },
    {
        "scan_id": "s2",
        "path": "a/s2.mhd",
        "row": 9,
        "kind": "sample",
        "samples": 1,
        "reason": "a/s2.mhd: sample 9: off by 20 mm",
    },
    {"scan_id": "s3", "path": "a/s3.mhd", "row": None, "kind": "scan", "samples": 5, "reason": "a/s3.mhd: cut off"},
    {"scan_id": "s4", "path": None, "row": None, "kind": "absent", "samples": 2, "reason": "no folder holds s4.mhd"},
    {"scan_id": "s5", "path": None, "row": 7, "kind": "sample", "samples": 1, "reason": "not numbers: [nan]"},
]


def test_planned_patches_are_used_or_excluded(make_run: Callable[..., RunContents]) -> None:
    planned, excluded, used, oversampled = trace_patches(make_run(quarantine=ROWS).store)
    assert (planned.number, excluded.number, used.number) == (64 + 7, 7, 64)
    assert oversampled.number == 3 * 12  # Half of the 24 training patches, by three rotations.
    assert "3 listed samples excluded before" in planned.detail


def test_a_split_is_counted_once_for_each_patch_and_scan(make_run: Callable[..., RunContents]) -> None:
    train, val, test = count_splits(make_run().store)
    assert (train.name, train.scans, train.patients, train.patches, train.total, train.rows) == (
        "Training",
        12,
        12,
        (12, 12),
        24,
        60,
    )
    assert (val.total, val.rows, test.total, test.rows) == (24, 24, 16, 16)


def test_reasons_of_one_kind_are_one_group_and_the_one_with_most_samples_comes_first() -> None:
    groups = group_quarantine(pa.Table.from_pylist(ROWS, schema=QUARANTINE))
    assert [(group.reason, group.entries, group.samples) for group in groups] == [
        ("cut off", 1, 5),
        ("off by # mm", 2, 2),
        ("no folder holds [scan].mhd", 1, 2),
        ("not numbers: [nan]", 1, 1),
    ]
    assert [row["reason"] for row in groups[1].examples] == ["off by 1.5 mm", "off by 20 mm"]


def test_nothing_excluded_is_no_group() -> None:
    assert group_quarantine(pa.Table.from_pylist([], schema=QUARANTINE)) == []
